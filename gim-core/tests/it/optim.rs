//! Optimizers: how the step size falls, and that a resumed optimizer continues where it was.

use gim_core::optim::{Adam, AdamConfig, Decay, Optimizer, OptimizerConfig, Sgd, SgdConfig};
use gim_core::param::{Param, Params};
use gim_core::{Key, Pool, Purpose};

struct One(Param<f64>);

impl Params<f64> for One {
    fn visit(&mut self, f: &mut dyn FnMut(&mut Param<f64>)) {
        f(&mut self.0);
    }
}

/// Three weights with the constant gradient 1, 2, −3.
fn weights(pool: &Pool<f64>) -> One {
    let mut p = Param::uniform("w", &[3], 1.0, Key::new(7, Purpose::Synthetic));
    p.attach_grad(pool);
    p.grad_mut().copy_from_slice(&[1.0, 2.0, -3.0]);
    One(p)
}

fn value(one: &mut One) -> Vec<f64> {
    one.0.value_and_grad().0.to_vec()
}

/// How far each of `steps` updates moves the first weight.
fn moves(optimizer: &mut dyn Optimizer<f64>, steps: usize) -> Vec<f64> {
    let pool = Pool::new();
    let mut one = weights(&pool);
    (0..steps)
        .map(|_| {
            let before = value(&mut one)[0];
            optimizer.update(&mut one);
            before - value(&mut one)[0]
        })
        .collect()
}

#[test]
fn steps_fall_along_half_a_cosine_and_end_at_zero() {
    let mut sgd = Sgd::new(SgdConfig { lr: 0.5, momentum: 0.0, decay_steps: 4 }).unwrap();
    // With a constant gradient, Adam's bias-corrected step is its step size.
    let mut adam = Adam::new(AdamConfig { lr: 0.5, eps: 1e-12, decay_steps: 4, ..AdamConfig::default() }).unwrap();
    for taken in [moves(&mut sgd, 6), moves(&mut adam, 6)] {
        for (got, share) in taken.iter().zip([1.0, 0.5 + 0.125_f64.sqrt(), 0.5, 0.5 - 0.125_f64.sqrt(), 0.0, 0.0]) {
            assert!((got - 0.5 * share).abs() < 1e-9, "moved by {got}, not by half of {share}");
        }
    }
}

#[test]
fn without_decay_adam_keeps_its_step_size() {
    let config = OptimizerConfig { decay_steps: 4, lr: 0.5, eps: 1e-12, ..OptimizerConfig::default() };
    for got in moves(&mut *config.build().unwrap(), 6) {
        assert!((got - 0.5).abs() < 1e-9, "moved by {got}");
    }
}

#[test]
fn a_resumed_decay_continues_where_it_was() {
    let config = OptimizerConfig { decay: Decay::Cosine, decay_steps: 9, ..OptimizerConfig::default() };
    let pool = Pool::new();
    let (mut whole, mut first) = (weights(&pool), weights(&pool));
    let (mut a, mut b, mut c) = (config.build().unwrap(), config.build().unwrap(), config.build().unwrap());
    (0..6).for_each(|_| a.update(&mut whole));
    (0..3).for_each(|_| b.update(&mut first));
    c.set_steps(b.steps());
    let mut moments = Vec::new();
    b.visit_state(&[3], &mut |_, _, values| moments.push(values.clone()));
    c.visit_state(&[3], &mut |moment, _, values| values.clone_from(&moments[moment]));
    (0..3).for_each(|_| c.update(&mut first));
    assert_eq!(value(&mut whole), value(&mut first));
}
