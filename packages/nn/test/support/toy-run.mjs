// A small training whose every part is random: data order, dropout, initial weights. Plain JavaScript, as a child process
// runs it too.
import {
  add,
  crossEntropy,
  lt,
  matmul,
  mul,
  randomBits,
  relu,
  scope,
  tensor,
  where,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';

/** Numbers in [-1, 1) by index: no run of a generator, so that a process that starts later has the same. */
const number = (i, salt) => Math.sin(i * 12.9898 + salt * 78.233) * 0.999;

/** Points of two classes, inside and outside of a circle. */
export const points = Array.from({ length: 96 }, (_, i) => {
  const [x, y] = [1.5 * number(i, 1), 1.5 * number(i, 2)];
  return { x, y, inside: x * x + y * y < 1 ? 1 : 0 };
});

export function toyRun(backend = createReferenceBackend()) {
  const weights = (shape, salt) =>
    tensor(
      backend,
      Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => number(i, salt)),
      shape,
    );
  const collate = (examples) => ({
    x: examples.flatMap(({ x, y }) => [x, y]),
    targets: examples.map(({ inside }) => inside),
  });
  const network = (p, x) =>
    add(matmul(relu(add(matmul(x, p['hidden.weight']), p['hidden.bias'])), p['out.weight']), p['out.bias']);
  const logitsOf = (p, x, count) => network(p, tensor(backend, x, [count, 2]));
  const plainLoss = (p, { x, targets }) =>
    scope(() =>
      crossEntropy(
        logitsOf(p, x, targets.length),
        tensor(backend, Int32Array.from(targets), [targets.length], 'i32'),
      ),
    );
  /** With a tenth of the output's rows scaled away by the step's seed. */
  const loss = (p, batch, { seed }) =>
    scope(() => {
      const bits = randomBits(backend, seed, p['out.weight'].shape);
      const factors = where(lt(bits, Math.round(2 ** 31 * 0.8)), 1 / 0.9, 0);
      return plainLoss({ ...p, 'out.weight': mul(p['out.weight'], factors) }, batch);
    });
  return {
    backend,
    parameters: {
      'hidden.weight': weights([2, 16], 3),
      'hidden.bias': weights([16], 4),
      'out.weight': weights([16, 2], 5),
      'out.bias': weights([2], 6),
    },
    collate,
    loss,
    plainLoss,
    logitsOf,
    network,
  };
}
