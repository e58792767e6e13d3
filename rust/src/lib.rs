//! The MLS binding of Amanat (RFC 9420): bytes in, bytes out; no I/O, no clock.
//!
//! OpenMLS does the protocol. This crate gives it a storage provider that only remembers what
//! changed (`store`), and gives Python an engine whose every call is all or nothing (`engine`).
//! Python sees tuples of bytes and numbers here; `amanat.mls` gives them names and types.
//!
//! Beside that it has what names look like (`names`), for the tables are a crate's.

mod chunks;
mod engine;
mod error;
mod lineage;
mod names;
mod rules;
mod secrets;
mod store;

use pyo3::prelude::*;

#[pymodule]
fn _mls(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("MlsError", module.py().get_type::<error::MlsError>())?;
    module.add("HYBRID_SUITE", rules::HYBRID as u16)?;
    module.add("CLASSICAL_SUITE", rules::CLASSICAL as u16)?;
    module.add("EXT_POLICY", rules::EXT_POLICY)?;
    module.add("EXT_LEAF", rules::EXT_LEAF)?;
    module.add("OUT_OF_ORDER_TOLERANCE", rules::OUT_OF_ORDER_TOLERANCE)?;
    module.add_class::<engine::Engine>()?;
    module.add_class::<lineage::Lineage>()?;
    module.add_function(wrap_pyfunction!(engine::check_key_package, module)?)?;
    module.add_function(wrap_pyfunction!(engine::peek, module)?)?;
    module.add_function(wrap_pyfunction!(names::skeleton, module)?)?;
    Ok(())
}
