import type { Backend } from '../contract/backend.js';
import { tensor } from '../ops/create.js';
import { add, mul, sub } from '../ops/elementwise.js';
import { concat, narrow, reshape } from '../ops/layout.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/** Complex numbers, as two tensors of one shape. */
export interface Complex {
  readonly real: Tensor;
  readonly imaginary: Tensor;
}

/**
 * The discrete Fourier transform along the middle axis of x [G, n, C], n a power of 2: sum_t x_t exp(-2 pi i t f / n).
 * Stockham's: in each of log n stages the halves of the axis are added and subtracted, the differences are turned, and both
 * are put side by side, which leaves the frequencies in order at the end.
 */
export function fft({ real, imaginary }: Complex): Complex {
  const [groups, length, columns] = real.shape as readonly [number, number, number];
  return scope(() => {
    // [G, rows, width]: `width` grows as `rows` shrink.
    let [a, b] = [real.alias(), imaginary.alias()];
    for (let rows = length; rows > 1; rows /= 2) {
      const half = rows / 2;
      const width = (columns * length) / rows;
      const { cosine, sine } = turns(real.backend, half);
      const next = scope(() => {
        const [a0, a1] = halves(reshape(a, [groups, rows, width]));
        const [b0, b1] = halves(reshape(b, [groups, rows, width]));
        const [da, db] = [sub(a0, a1), sub(b0, b1)];
        const sideBySide = (left: Tensor, right: Tensor): Tensor =>
          concat([reshape(left, [groups, half, 1, width]), reshape(right, [groups, half, 1, width])], 2);
        return {
          a: sideBySide(add(a0, a1), add(mul(da, cosine), mul(db, sine))),
          b: sideBySide(add(b0, b1), sub(mul(db, cosine), mul(da, sine))),
        };
      });
      for (const old of [a, b, cosine, sine]) old.dispose();
      [a, b] = [next.a, next.b];
    }
    return { real: reshape(a, real.shape), imaginary: reshape(b, real.shape) };
  });
}

/** The inverse of `fft`: the transform of the conjugate, conjugated, over n. */
export function inverseFft({ real, imaginary }: Complex): Complex {
  return scope(() => {
    const turned = fft({ real, imaginary: mul(imaginary, -1) });
    const length = real.shape[1] as number;
    return { real: mul(turned.real, 1 / length), imaginary: mul(turned.imaginary, -1 / length) };
  });
}

function halves(x: Tensor): readonly [Tensor, Tensor] {
  const half = (x.shape[1] as number) / 2;
  return [narrow(x, 1, 0, half), narrow(x, 1, half, half)];
}

/** cos and sin of 2 pi p / (2 half) for p < half, [1, half, 1]: exp(-i angle) = cos - i sin. */
function turns(backend: Backend, half: number): { readonly cosine: Tensor; readonly sine: Tensor } {
  const of = (f: (angle: number) => number): Tensor =>
    tensor(
      backend,
      Float64Array.from({ length: half }, (_, p) => f((Math.PI * p) / half)),
      [1, half, 1],
    );
  return { cosine: of(Math.cos), sine: of(Math.sin) };
}
