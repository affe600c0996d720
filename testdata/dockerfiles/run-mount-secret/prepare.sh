printf 'not for the image' > ../secret
