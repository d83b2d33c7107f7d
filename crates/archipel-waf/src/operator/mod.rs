//! Operators: what compares a value with the argument of a rule.
