//! Objects as they are stored, readable or not.

use std::sync::Arc;

/// An object. One that cannot be read is still there, and is shown with its reason.
#[derive(Debug)]
pub struct Kept<K> {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The object, or why it cannot be read, in a sentence.
    pub object: Result<Arc<K>, String>,
}

impl<K> Kept<K> {
    /// One that can be read.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>, object: K) -> Self {
        Self { namespace: namespace.into(), name: name.into(), object: Ok(Arc::new(object)) }
    }

    /// `NAMESPACE/NAME`.
    pub fn id(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

// Not derived: that would want `K: Clone`, while only the pointer is copied.
impl<K> Clone for Kept<K> {
    fn clone(&self) -> Self {
        Self { namespace: self.namespace.clone(), name: self.name.clone(), object: self.object.clone() }
    }
}
