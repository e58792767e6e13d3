use pyo3::prelude::*;
#[pymodule]
fn _mls(_m: &Bound<'_, PyModule>) -> PyResult<()> { Ok(()) }
