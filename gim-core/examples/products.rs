//! Speed of matrix products at the shapes of a network: `cargo run --release -p gim-core --example products`.
use std::time::Instant;

use gim_core::Pool;
use gim_core::kernels::gemm::peak_gflops;
use gim_core::kernels::gemm::{Mat, MatMut, Packed, Store, Threads, gemm, gemm_tn};

/// The kernel's own speed on one thread, now: clocks change.
fn peak() -> f64 {
    peak_gflops::<f32>() / rayon::current_num_threads() as f64
}

fn main() {
    let pool = Pool::<f32>::new();
    println!("{:>6} {:>5} {:>5}  {:>15} {:>15}", "m", "k", "n", "gemm", "gemm_tn");
    for (m, k, n) in
        [(2048, 64, 256), (2048, 576, 64), (200_704, 64, 256), (200_704, 256, 64), (2048, 2304, 256), (4096, 1024, 512)]
    {
        let number = |i: usize| (i as f32 * 0.7).sin();
        let a: Vec<f32> = (0..m * k).map(number).collect();
        let b: Vec<f32> = (0..k * n).map(number).collect();
        let d: Vec<f32> = (0..m * n).map(number).collect();
        let mut c = vec![0.0f32; m * n];
        let mut w = vec![0.0f32; k * n];
        let packed = Packed::new(Mat::new(&b, k, n), &pool);
        let work = 2.0 * (m * k * n) as f64;
        let best = |f: &mut dyn FnMut()| {
            let reps = (4e8 / work).ceil() as usize;
            let mut best = f64::INFINITY;
            for _ in 0..7 {
                let from = Instant::now();
                (0..reps).for_each(|_| f());
                best = best.min(from.elapsed().as_secs_f64() / reps as f64);
            }
            work / best / 1e9
        };
        let p = best(&mut || {
            gemm(&Mat::new(&a, m, k), &packed, MatMut::new(&mut c, m, n), Store::Overwrite, |_, _, _| {}, Threads::This)
        });
        let o = best(&mut || {
            gemm_tn(
                Mat::new(&d, m, n),
                &Mat::new(&a, m, k),
                MatMut::new(&mut w, n, k),
                Store::Add,
                Threads::This,
                &pool,
            )
        });
        println!("{m:6} {k:5} {n:5}  {p:8.1} {:4.0} %  {o:8.1} {:4.0} %", 100.0 * p / peak(), 100.0 * o / peak());
    }
}
