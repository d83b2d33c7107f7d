//! Transformations: what a value goes through before an operator sees it.
