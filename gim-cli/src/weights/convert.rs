//! Published tensors into the parameters of a stack, and back.

use gim_core::stack::Stack;
use gim_core::{Error, Result};

use super::import::CKPT;
use super::places::places;
use super::{Tensor, Tensors};
use crate::experiment::domain::Domain;

/// The tensor of this name and shape, taken out of `tensors`.
fn take(tensors: &mut Tensors, name: &str, shape: &[usize]) -> Result<Tensor> {
    let settings = "set what shapes do not tell, for instance --set network.stem=5";
    let tensor = tensors
        .remove(name)
        .ok_or_else(|| Error::config(CKPT, format_args!("lacks `{name}`"), "give all files of the model"))?;
    if tensor.shape != shape {
        let what = format!("has `{name}` of shape {:?}, the network's is {shape:?}", tensor.shape);
        return Err(Error::config(CKPT, what, settings));
    }
    Ok(tensor)
}

/// Puts published tensors into a stack and takes them out of `tensors`.
///
/// # Errors
/// When one is missing, or of another shape. The stack is then of no use.
pub(super) fn fill(stack: &mut Stack<f32>, domain: &Domain, tensors: &mut Tensors) -> Result<()> {
    each(stack, domain, true, |place, values| {
        let tensor = take(tensors, &place.name, &place.shape)?;
        for (at, value) in tensor.values.iter().enumerate() {
            if let Some(ours) = place.ours(at) {
                values[ours] = *value;
            }
        }
        Ok(())
    })
}

/// The parameters of a stack as published tensors, those of its `losses` among them. Masked values are zero.
///
/// # Errors
/// When the published code has no such network or loss.
pub(super) fn collect(stack: &mut Stack<f32>, domain: &Domain, losses: bool) -> Result<Tensors> {
    let mut out = Tensors::new();
    each(stack, domain, losses, |place, values| {
        let values = (0..place.len()).map(|at| place.ours(at).map_or(0.0, |ours| values[ours])).collect();
        out.insert(place.name, Tensor { shape: place.shape, values });
        Ok(())
    })?;
    Ok(out)
}

/// Calls `f` with every place and the values of its parameter.
fn each(
    stack: &mut Stack<f32>,
    domain: &Domain,
    losses: bool,
    mut f: impl FnMut(super::places::Place, &mut [f32]) -> Result<()>,
) -> Result<()> {
    let mut done = Ok(());
    for (m, module) in stack.modules_mut().iter_mut().enumerate() {
        module.params().visit(&mut |p| {
            if done.is_ok() && (losses || !p.name.starts_with("loss.")) {
                let all = places(domain, m, &p.name, &p.shape);
                done = all.and_then(|all| all.into_iter().try_for_each(|place| f(place, &mut p.value)));
            }
        });
    }
    done
}
