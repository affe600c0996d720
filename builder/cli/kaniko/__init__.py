"""The flags of kaniko's executor: ``flags`` says what they are here, ``translate`` makes our words of them."""
