"""What tests share: tools and services of the machine, images made without the code under test, trees to compare."""
