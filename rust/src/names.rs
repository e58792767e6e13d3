//! What names look like, by Unicode's own tables of what is mistaken for what.

use pyo3::prelude::*;
use unicode_security::confusable_detection::skeleton as prototypes;

/// The skeleton of a text (UTS 39, section 4): texts that look alike have the same one. It is not
/// meant to be shown.
#[pyfunction]
pub fn skeleton(text: &str) -> String {
    prototypes(text).collect()
}
