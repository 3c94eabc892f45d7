-- What is being moved into this store from another one, or was: a part of a store is not worked on.

CREATE TABLE moving (
    one   INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    mark  TEXT    NOT NULL
) STRICT;
