//! Pictures for Greedy InfoMax. Nothing is here yet.
