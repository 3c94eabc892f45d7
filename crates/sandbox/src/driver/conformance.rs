//! One suite for every driver.
