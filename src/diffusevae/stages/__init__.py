"""One thin shell per DVC stage: parse, load, call one function of the library, save."""
