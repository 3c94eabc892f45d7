//! One suite of claims that every back end of the store has to pass.
