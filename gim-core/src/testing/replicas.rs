//! The checks that layers and networks must pass with replicas: they give the bits of one process.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use super::schedules::{Input, STEPS, in_turn};
use super::{snapshot, uniform};
use crate::activations::{Activations, Layout, Shape};
use crate::layers::{InputGrad, Keep, Layer};
use crate::replicas::{Exchange, Replicas};
use crate::stack::Stack;
use crate::{Pool, Scalar};

/// The ends of channels from and to all replicas.
struct Channels<F> {
    to: Vec<Sender<Vec<F>>>,
    from: Vec<Mutex<Receiver<Vec<F>>>>,
    sent: AtomicUsize,
}

impl<F: Scalar> Exchange<F> for Channels<F> {
    fn send(&self, to: &[usize], values: &[F]) {
        for replica in to {
            self.sent.fetch_add(values.len(), Ordering::Relaxed);
            let _ = self.to[*replica].send(values.to_vec());
        }
    }

    fn receive(&self, from: usize, values: &mut [F]) {
        let channel = self.from[from].lock().unwrap_or_else(PoisonError::into_inner);
        let arrived = channel.recv().unwrap_or_else(|_| panic!("replica {from} is gone"));
        assert_eq!(arrived.len(), values.len(), "values from replica {from}");
        values.copy_from_slice(&arrived);
    }
}

/// Channels between so many replicas.
fn channels<F: Scalar>(count: usize) -> Vec<Arc<Channels<F>>> {
    let (mut sinks, mut sources): (Vec<Vec<_>>, Vec<Vec<_>>) = Default::default();
    sinks.resize_with(count, Vec::new);
    sources.resize_with(count, Vec::new);
    for sinks in &mut sinks {
        for sources in &mut sources {
            let (sink, source) = channel();
            sinks.push(sink);
            sources.push(Mutex::new(source));
        }
    }
    let both = sinks.into_iter().zip(sources);
    both.map(|(to, from)| Arc::new(Channels { to, from, sent: AtomicUsize::new(0) })).collect()
}

/// Runs `work` for each of `count` replicas, in a pool of its own: one that waits for another takes no
/// thread from it. Gives what they have made, and how
/// many values each has sent.
fn at_each<F: Scalar, T: Send>(count: usize, work: &(dyn Fn(&Replicas<F>) -> T + Sync)) -> (Vec<T>, Vec<usize>) {
    let ends = channels::<F>(count);
    let made = std::thread::scope(|scope| {
        let begin = |(own, ends): (usize, &Arc<Channels<F>>)| {
            let exchange: Arc<dyn Exchange<F>> = Arc::<Channels<F>>::clone(ends);
            let replicas = Replicas::new(own, count, exchange);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
            let pool = pool.unwrap_or_else(|e| panic!("no thread for replica {own}: {e}"));
            scope.spawn(move || pool.install(|| work(&replicas)))
        };
        let threads: Vec<_> = ends.iter().enumerate().map(begin).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
    });
    (made, ends.iter().map(|ends| ends.sent.load(Ordering::Relaxed)).collect())
}

/// Compares training by replicas, each in a pool of its own, with training by one stack: losses, and
/// the checkpoints of all modules after every step, must be the same at every replica. Batches take
/// `inputs` in turn. Gives the values that each of two replicas has sent in a step.
///
/// # Panics
/// When they differ.
pub fn check_replicas(build: &(dyn Fn(&Pool<f32>) -> Stack<f32> + Sync), inputs: &[Input]) -> Vec<f64> {
    let mut of_two = Vec::new();
    for (new_pool, name) in [(Pool::low_memory as fn() -> Pool<f32>, "low"), (Pool::new, "ample")] {
        let train = |replicas: &Replicas<f32>| {
            let pool = new_pool();
            let mut stack = build(&pool);
            stack.modules_mut().iter_mut().for_each(|module| module.set_replicas(replicas));
            in_turn(stack, &pool, inputs)
        };
        let want = train(&Replicas::default());
        for count in [3, 2] {
            let (all, sent) = at_each(count, &train);
            for (own, got) in all.into_iter().enumerate() {
                assert_eq!(want.reports, got.reports, "losses of replica {own} of {count}, {name} memory");
                assert!(want == got, "weights of replica {own} of {count}, {name} memory");
            }
            of_two = sent.iter().map(|values| *values as f64 / STEPS as f64).collect();
        }
    }
    of_two
}

/// Compares a layer that replicas share with the same layer alone, on an input of shape `x`: output,
/// input gradient and gradients of parameters must be the same to the last bit. Some replicas may have
/// nothing to do.
///
/// # Panics
/// When they differ.
pub fn check_layer_replicas(build: &(dyn Fn() -> Box<dyn Layer<f64>> + Sync), x: Shape, seed: u64) {
    let out = build().output(x).unwrap_or_else(|e| panic!("{}: {e}", build().describe()));
    for y in [build().output_layout(out), Layout::padded(out, 1, out.height + 3)] {
        let pass = |replicas: &Replicas<f64>| {
            let pool = Pool::new();
            let mut layer = build();
            layer.set_replicas(replicas);
            layer.visit(&mut |p| p.attach_grad(&pool));
            let input = Activations::from_slice(layer.input_layout(x, y), &uniform(x.len(), seed), &pool);
            let mut passes = Vec::new();
            for add in [false, true] {
                pool.poison();
                let mut output = Activations::new(y, &pool);
                layer.forward(&input, &mut output, Keep::ForBackward, &pool);
                let mut dy = Activations::from_slice(y, &uniform(out.len(), seed + 1), &pool);
                let mut dx = Activations::zeros(input.layout(), &pool);
                let into = if add { InputGrad::Add(&mut dx) } else { InputGrad::Overwrite(&mut dx) };
                layer.backward(&input, &output, &mut dy, into, &pool);
                passes.push((output.memory().to_vec(), dx.memory().to_vec(), snapshot(&mut *layer).1));
            }
            passes
        };
        let want = pass(&Replicas::default());
        for count in [2, 3, 7] {
            for (own, got) in at_each(count, &pass).0.into_iter().enumerate() {
                assert!(want == got, "{}, {x:?} → {y:?}, replica {own} of {count}", build().describe());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::LayerInfo;
    use crate::param::{Param, Params};

    /// Sums of single precision depend on the order.
    #[test]
    fn sums_are_those_of_one_process() {
        let values = [1e8_f32, 3.0, -1e8, 5.0, 7.0, 1e8, -1e8, 0.1];
        let sum = |part: &[f32], from: f32| part.iter().fold(from, |sum, value| sum + value);
        let want = sum(&values, 0.25);
        assert_ne!(want, sum(&values[..4], 0.25) + sum(&values[4..], 0.0), "the order matters here");
        for count in [1, 2, 3, 7, 11] {
            let (sums, sent) = at_each(count, &|replicas: &Replicas<f32>| {
                let mut total = [0.25];
                let own = replicas.own_part(values.len(), 1);
                replicas.add_in_turn(&mut total, |total| total[0] = sum(&values[own], total[0]));
                replicas.take_sum(&mut total);
                total[0]
            });
            assert_eq!(sums, vec![want; count]);
            assert_eq!(sent.iter().sum::<usize>(), 2 * (count - 1));
        }
    }

    /// Adds the sums that replicas have made from nothing, as an all-reduce does.
    struct Eager(Replicas<f64>, Param<f64>);

    impl Params<f64> for Eager {
        fn visit(&mut self, f: &mut dyn FnMut(&mut Param<f64>)) {
            f(&mut self.1);
        }
    }

    impl LayerInfo for Eager {
        fn describe(&self) -> String {
            "eager".into()
        }
        fn output(&self, x: Shape) -> crate::Result<Shape> {
            Ok(x)
        }
        fn multiply_adds(&self, x: Shape) -> u64 {
            x.len() as u64
        }
    }

    impl Layer<f64> for Eager {
        fn set_replicas(&mut self, replicas: &Replicas<f64>) {
            self.0 = replicas.clone();
        }
        fn forward(&mut self, x: &Activations<f64>, y: &mut Activations<f64>, _: Keep, _: &Pool<f64>) {
            (0..x.shape().batch).for_each(|i| y.item_mut(i).copy_from_slice(x.item(i)));
        }
        fn backward(
            &mut self,
            x: &Activations<f64>,
            _: &Activations<f64>,
            _: &mut Activations<f64>,
            _: InputGrad<'_, f64>,
            _: &Pool<f64>,
        ) {
            let values = x.to_vec();
            let own: f64 = values[self.0.own_part(values.len(), 1)].iter().sum();
            self.0.add_in_turn(self.1.grad_mut(), |sum| sum[0] += own);
            self.0.take_sum(self.1.grad_mut());
        }
    }

    #[test]
    #[should_panic(expected = "eager")]
    fn another_order_of_sums_is_found_out() {
        let layer = || Box::new(Eager(Replicas::default(), Param::new("sum", &[1], vec![0.0]))) as Box<dyn Layer<f64>>;
        check_layer_replicas(&layer, Shape::sequence(3, 50, 4), 1);
    }
}
