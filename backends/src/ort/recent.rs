//! What is made when it is needed, and kept while it is needed again.

use std::sync::{Arc, Mutex, PoisonError};

/// A slot is filled by the first who needs it, while others who need the same wait.
type Slot<V> = Arc<Mutex<Option<Arc<V>>>>;

/// At most `most` values by their keys: those that were used last.
pub(super) struct Recent<K, V> {
    most: usize,
    /// The last one was used last.
    slots: Mutex<Vec<(K, Slot<V>)>>,
}

impl<K: PartialEq, V> Recent<K, V> {
    pub(super) fn new(most: usize) -> Recent<K, V> {
        Recent { most, slots: Mutex::default() }
    }

    /// The value of a key, made if it is not there. What could not be made is tried again.
    pub(super) fn get<E>(&self, key: K, make: impl FnOnce(&K) -> Result<V, E>) -> Result<Arc<V>, E>
    where
        K: Clone,
    {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            let known = slots.iter().position(|(known, _)| *known == key);
            let slot = known.map(|at| slots.remove(at).1).unwrap_or_default();
            if slots.len() >= self.most {
                slots.remove(0);
            }
            slots.push((key.clone(), slot.clone()));
            slot
        };
        let mut value = slot.lock().unwrap_or_else(PoisonError::into_inner);
        match &*value {
            Some(value) => Ok(value.clone()),
            None => {
                let made = Arc::new(make(&key)?);
                *value = Some(made.clone());
                Ok(made)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_goes_first() {
        let recent = Recent::new(2);
        let mut made = vec![];
        for key in [1, 2, 1, 3, 1, 2, 2, 3] {
            let value = recent.get(key, |key| {
                made.push(*key);
                Ok::<_, ()>(key * 10)
            });
            assert_eq!(value.as_deref(), Ok(&(key * 10)));
        }
        assert_eq!(made, [1, 2, 3, 2, 3]);
        assert_eq!(recent.get(4, |_| Err("broken")).err(), Some("broken"));
        assert_eq!(recent.get(4, |_| Ok::<_, &str>(40)).as_deref(), Ok(&40));
    }
}
