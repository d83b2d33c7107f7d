//! Transformations as a trie: rules whose lists begin alike share what was computed.

use crate::byte_set::ByteSet;
use crate::transform::Transformation;

/// Transformations of one rule.
pub(crate) const TRANSFORMATIONS_MAX: usize = 32;

/// A place in the trie; 0 is the value as it came.
pub(crate) type Node = u16;

#[derive(Debug)]
struct Step {
    parent: Node,
    transformation: Transformation,
    /// Of these bytes a value must have one to be changed on the way from the root; `None` where that tells nothing.
    trigger: Option<ByteSet>,
}

/// All lists of transformations of a rule set.
#[derive(Debug, Default)]
pub(crate) struct Chains {
    steps: Vec<Step>,
}

impl Chains {
    /// How many nodes there are, the root included.
    pub(crate) fn len(&self) -> usize {
        self.steps.len() + 1
    }

    /// The node for a list.
    pub(crate) fn add(&mut self, transformations: &[Transformation]) -> Result<Node, String> {
        if transformations.len() > TRANSFORMATIONS_MAX {
            return Err(format!("more than {TRANSFORMATIONS_MAX} transformations"));
        }
        let mut node = 0;
        for &transformation in transformations {
            node = self.child(node, transformation)?;
        }
        Ok(node)
    }

    fn child(&mut self, parent: Node, transformation: Transformation) -> Result<Node, String> {
        let known = self.steps.iter().position(|s| s.parent == parent && s.transformation == transformation);
        if let Some(at) = known {
            return Ok((at + 1) as Node);
        }
        let before = if parent == 0 { Some(ByteSet::EMPTY) } else { self.steps[usize::from(parent) - 1].trigger };
        let trigger = match (before, transformation.trigger()) {
            (Some(before), Some(own)) => Some(before.union(own)),
            _ => None,
        };
        self.steps.push(Step { parent, transformation, trigger });
        Node::try_from(self.steps.len()).map_err(|_| "too many lists of transformations".to_owned())
    }

    /// Where `node` comes from, and by which transformation; `None` for the root.
    pub(crate) fn step(&self, node: Node) -> Option<(Node, Transformation)> {
        let step = self.steps.get(usize::from(node).checked_sub(1)?)?;
        Some((step.parent, step.transformation))
    }

    /// Whether a value that consists of `bytes` certainly is itself at `node`.
    pub(crate) fn is_noop(&self, node: Node, bytes: &ByteSet) -> bool {
        match usize::from(node).checked_sub(1) {
            None => true,
            Some(at) => self.steps[at].trigger.is_some_and(|trigger| !trigger.intersects(bytes)),
        }
    }

    /// The nodes on the way from the root to `node`, both included.
    pub(crate) fn path(&self, node: Node) -> Vec<Node> {
        let mut path = vec![node];
        while let Some((parent, _)) = self.step(path[path.len() - 1]) {
            path.push(parent);
        }
        path.reverse();
        path
    }

    pub(crate) fn bytes(&self) -> usize {
        self.steps.capacity() * size_of::<Step>()
    }
}
