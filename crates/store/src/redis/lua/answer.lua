-- ARGV: the name of the question, and what it is about.

return reads[ARGV[1]](unpack(ARGV, 2))
