//! Optimizers: how the step size falls, and that a resumed optimizer continues where it was.

use gim_core::optim::{
    Adam, AdamConfig, Decay, Optimizer, OptimizerConfig, OptimizerKind, RateSchedule, Sgd, SgdConfig,
};
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
    let rate = RateSchedule { decay: Decay::Cosine, steps: 4, ..RateSchedule::default() };
    let sgd = SgdConfig { lr: 0.5, momentum: 0.0, rate: rate.clone(), ..SgdConfig::default() };
    let mut sgd = Sgd::new(sgd).unwrap();
    // With a constant gradient, Adam's bias-corrected step is its step size.
    let mut adam = Adam::new(AdamConfig { lr: 0.5, eps: 1e-12, rate, ..AdamConfig::default() }).unwrap();
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

#[test]
fn rates_rise_first_and_fall_at_milestones() {
    let shares = |rate: &RateSchedule| (0..8).map(|taken| rate.share(taken)).collect::<Vec<_>>();
    let rate = RateSchedule { warmup: 4, ..RateSchedule::default() };
    assert_eq!(shares(&rate), [0.25, 0.5, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0]);
    let rate = RateSchedule { decay: Decay::Milestones, milestones: vec![0.5, 0.75], steps: 8, ..rate };
    let wanted = [0.25, 0.5, 0.75, 1.0, 0.1, 0.1, 0.01, 0.01];
    assert!(shares(&rate).iter().zip(wanted).all(|(got, want)| (got - want).abs() < 1e-12), "{:?}", shares(&rate));
    // The cosine begins where the rise ends.
    let cosine = RateSchedule { decay: Decay::Cosine, ..rate };
    assert_eq!((cosine.share(3), cosine.share(4), cosine.share(8)), (1.0, 1.0, 0.0));
    assert!((cosine.share(6) - 0.5).abs() < 1e-12);
}

/// Without a gradient, weights shrink by 1 − lr · λ; without decay, no bit changes.
#[test]
fn weight_decay_is_decoupled_from_the_gradient() {
    for kind in [OptimizerKind::Adam, OptimizerKind::Sgd] {
        let config = OptimizerConfig { kind, lr: 0.1, weight_decay: 0.5, ..OptimizerConfig::default() };
        let pool = Pool::new();
        let mut one = weights(&pool);
        one.0.grad_mut().fill(0.0);
        let before = value(&mut one);
        config.build().unwrap().update(&mut one);
        let after = value(&mut one);
        assert!(before.iter().zip(&after).all(|(b, a)| (a - 0.95 * b).abs() < 1e-15), "{kind:?}: {after:?}");
        assert!(OptimizerConfig { weight_decay: 11.0, ..config }.build::<f64>().is_err());
    }
}
