-- Tokens for callers over a network. The secret is never here, only its SHA-256 in hexadecimal digits.

CREATE TABLE access (
    id            TEXT    NOT NULL PRIMARY KEY,
    name          TEXT,
    scope         TEXT    NOT NULL CHECK (scope IN ('read', 'submit', 'admin')),
    digest        TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    last_used_at  INTEGER
) STRICT, WITHOUT ROWID;
