//! Gradients by backpropagation against finite differences and against candle's automatic ones.

use super::*;
use candle_core::{DType, Device, Tensor, Var};

const INPUTS: usize = 5;
const HIDDEN: usize = 7;
const OUTPUTS: usize = 3;
const BATCH: usize = 4;
const STEPS: usize = 6;

fn network(random: &mut Random) -> Network {
    let mut network = Network::new(INPUTS, HIDDEN, OUTPUTS, 11);
    for p in network.parameters_mut() {
        p.iter_mut().for_each(|v| *v += 0.6 * (random.unit() - 0.5));
    }
    network
}

/// A tape with random inputs and first states, already run.
fn tape(network: &Network, random: &mut Random) -> Tape {
    let mut tape = Tape::new(network, BATCH, STEPS);
    tape.x.iter_mut().for_each(|v| *v = 2.0 * random.unit() - 1.0);
    tape.cell.iter_mut().for_each(|v| *v = 2.0 * random.unit() - 1.0);
    tape.forward(network);
    tape
}

/// The loss of the tests: outputs weighted and squared, so that every one of them counts differently.
fn loss(tape: &Tape, weights: &Array2<f32>) -> f64 {
    tape.out.iter().zip(weights).map(|(o, w)| f64::from(w * o * o)).sum()
}

fn weights(random: &mut Random) -> Array2<f32> {
    Array2::from_shape_simple_fn((BATCH * STEPS, OUTPUTS), || random.unit())
}

#[test]
fn gradients_are_finite_differences() {
    let mut random = Random(2);
    let mut network = network(&mut random);
    let mut tape = tape(&network, &mut random);
    let weights = weights(&mut random);
    let gradients = tape.backward(&network, &(2.0 * &weights * &tape.out));
    let step = 2e-3;
    for p in 0..4 {
        for i in (0..network.parameters()[p].len()).step_by(7) {
            let mut at = |d: f32| {
                network.parameters_mut()[p][i] += d;
                tape.forward(&network);
                network.parameters_mut()[p][i] -= d;
                loss(&tape, &weights)
            };
            let slope = (at(step) - at(-step)) / f64::from(2.0 * step);
            let got = f64::from(gradients.parameters()[p][i]);
            assert!((got - slope).abs() < 2e-3 * (1.0 + slope.abs()), "weight {i} of array {p}: {got}, not {slope}");
        }
    }
}

#[test]
fn gradients_are_those_of_candle() -> candle_core::Result<()> {
    let mut random = Random(3);
    let network = network(&mut random);
    let tape = tape(&network, &mut random);
    let weights = weights(&mut random);
    let gradients = tape.backward(&network, &(2.0 * &weights * &tape.out));

    let cpu = Device::Cpu;
    let tensor = |a: &Array2<f32>| Tensor::from_iter(a.iter().copied(), &cpu)?.reshape(a.dim());
    let var = |values: &[f32], rows: usize| {
        Var::from_tensor(&Tensor::new(values, &cpu)?.reshape((rows, values.len() / rows))?)
    };
    let [gates, gate_bias, head, head_bias] = network.parameters();
    let wide = INPUTS + HIDDEN;
    let vars = [var(gates, wide)?, var(gate_bias, 1)?, var(head, wide)?, var(head_bias, 1)?];
    let [gates, gate_bias, head, head_bias] = &vars;
    let x = tensor(&tape.x)?;
    let mut h = x.narrow(0, 0, BATCH)?.narrow(1, INPUTS, HIDDEN)?;
    let mut c = tensor(&tape.cell)?.narrow(0, 0, BATCH)?;
    let mut total = Tensor::zeros((), DType::F32, &cpu)?;
    for t in 0..STEPS {
        let inputs = x.narrow(0, t * BATCH, BATCH)?.narrow(1, 0, INPUTS)?;
        let z = Tensor::cat(&[&inputs, &h], 1)?.matmul(gates)?.broadcast_add(gate_bias)?;
        let gate = |i: usize| z.narrow(1, i * HIDDEN, HIDDEN);
        let sigmoid = |z: Tensor| candle_nn::ops::sigmoid(&z);
        c = ((sigmoid(gate(1)?)? * &c)? + (sigmoid(gate(0)?)? * gate(2)?.tanh()?)?)?;
        h = (sigmoid(gate(3)?)? * c.tanh()?)?;
        let out = Tensor::cat(&[&inputs, &h], 1)?.matmul(head)?.broadcast_add(head_bias)?;
        let weights = tensor(&weights)?.narrow(0, t * BATCH, BATCH)?;
        total = (total + (out.sqr()? * weights)?.sum_all()?)?;
    }
    let theirs = f64::from(total.to_scalar::<f32>()?);
    let ours = loss(&tape, &weights);
    assert!((theirs - ours).abs() < 1e-5 * ours, "losses {ours}, {theirs}");
    let store = total.backward()?;
    for (p, (var, ours)) in vars.iter().zip(gradients.parameters()).enumerate() {
        let theirs = store.get(var).expect("a gradient").flatten_all()?.to_vec1::<f32>()?;
        assert_eq!(theirs.len(), ours.len());
        for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "weight {i} of array {p}: {a}, candle {b}");
        }
    }
    Ok(())
}

#[test]
fn adam_descends_and_refuses_what_is_not_finite() {
    let mut random = Random(4);
    let mut network = network(&mut random);
    let mut tape = tape(&network, &mut random);
    let weights = weights(&mut random);
    let mut adam = Adam::new(&network);
    let before = loss(&tape, &weights);
    for _ in 0..200 {
        tape.forward(&network);
        let gradients = tape.backward(&network, &(2.0 * &weights * &tape.out));
        assert!(adam.step(&mut network, &gradients, 1e-2, 1.0));
    }
    tape.forward(&network);
    assert!(loss(&tape, &weights) < 0.05 * before);

    let (weights_before, steps) = (network.clone(), adam.clone());
    let broken = tape.backward(&network, &Array2::from_elem((BATCH * STEPS, OUTPUTS), f32::NAN));
    assert!(!adam.step(&mut network, &broken, 1e-2, 1.0));
    assert_eq!((network, adam), (weights_before, steps));
}
