import {
  add,
  concat,
  custom,
  formatShape,
  mul,
  narrow,
  reshape,
  scope,
  sub,
  sum,
  type Tensor,
  TopKError,
  takeAlong,
  tensor,
  zeros,
} from '@topk-attention/core';
import { type Complex, fft, inverseFft } from './fft.js';

/**
 * y_i = sum_j factors_(j - i) x_j for every column: a Toeplitz matrix for each head, times x, in n log n by a circulant of
 * twice its size. Rounding is relative to the largest factors and entries, so that a small sum beside large ones has few
 * digits. Gradients are products of the same kind.
 *
 * @param factors [heads, 2 n - 1]: that of distance j - i = l at n - 1 + l
 * @param x [B, heads, n, C]
 * @returns [B, heads, n, C]
 * @throws TopKError SHAPE_MISMATCH
 */
export function toeplitzProduct(factors: Tensor, x: Tensor): Tensor {
  const [, heads, length] = x.shape as readonly [number, number, number, number];
  if (factors.rank !== 2 || factors.shape[0] !== heads || factors.shape[1] !== 2 * length - 1) {
    throw new TopKError('SHAPE_MISMATCH', 'toeplitzProduct: factors do not fit', {
      expected: formatShape([heads, 2 * length - 1]),
      got: formatShape(factors.shape),
    });
  }
  const [y] = custom(
    'toeplitzProduct',
    [factors, x],
    () => ({ outputs: [product(factors, x)], saved: [factors, x] }),
    (_ops, [g], [c, input]) => {
      const [arrived, own] = [g as Tensor, c as Tensor];
      // Transposed, distances change their sign.
      return [factorGradient(arrived, input as Tensor), product(reversed(own), arrived)];
    },
  );
  return y as Tensor;
}

/** The smallest power of 2 that holds all distances. */
function sizeFor(length: number): number {
  return 2 ** Math.ceil(Math.log2(2 * length - 1));
}

function product(factors: Tensor, x: Tensor): Tensor {
  return scope(() => {
    const [batch, heads, length, columns] = x.shape as readonly [number, number, number, number];
    const size = sizeFor(length);
    const packed = packedColumns(x, size);
    const signal = spectrum(packed, [batch, heads]);
    // y_i = sum over d of factors_(-d) x_(i - d): a convolution with the distances turned around.
    const kernel = kernelSpectrum(reversed(factors), length, size);
    const back = inverseFft(flat(times(signal, kernel), size));
    return unpacked(back, [batch, heads, length, columns]);
  });
}

/** d factors_l = sum over i and columns of g_i x_(i + l): a correlation, summed over examples. */
function factorGradient(g: Tensor, x: Tensor): Tensor {
  return scope(() => {
    const [batch, heads, length, columns] = x.shape as readonly [number, number, number, number];
    const size = sizeFor(length);
    const of = (one: Tensor): Complex => {
      const padded = padTo(reshape(one, [batch * heads, length, columns]), size);
      return fft({ real: padded, imaginary: zeros(one.backend, padded.shape, one.dtype) });
    };
    const [gs, xs] = [of(g), of(x)];
    // conj(G) X, summed over columns and examples.
    const real = add(mul(gs.real, xs.real), mul(gs.imaginary, xs.imaginary));
    const imaginary = sub(mul(gs.real, xs.imaginary), mul(gs.imaginary, xs.real));
    const summed = (one: Tensor): Tensor =>
      reshape(sum(reshape(one, [batch, heads, size, columns]), { axes: [0, 3] }), [heads, size, 1]);
    const correlation = reshape(inverseFft({ real: summed(real), imaginary: summed(imaginary) }).real, [
      heads,
      size,
    ]);
    // Distance l stands at l, negative ones at the end.
    const positive = narrow(correlation, 1, 0, length);
    if (length === 1) return positive.alias();
    return concat([narrow(correlation, 1, size - length + 1, length - 1), positive], 1);
  });
}

/** Factors by the opposite distances. */
function reversed(factors: Tensor): Tensor {
  const [heads, count] = factors.shape as readonly [number, number];
  const from = Int32Array.from({ length: heads * count }, (_, at) => count - 1 - (at % count));
  return scope(() => takeAlong(factors, tensor(factors.backend, from, [heads, count])));
}

/** Kernel of distances d from -(n - 1) to n - 1, as a spectrum [1, heads, size, 1]. */
function kernelSpectrum(kernel: Tensor, length: number, size: number): Complex {
  const heads = kernel.shape[0] as number;
  const positive = narrow(kernel, 1, length - 1, length);
  const parts = [positive];
  const gap = size - (2 * length - 1);
  if (gap > 0) parts.push(zeros(kernel.backend, [heads, gap], kernel.dtype));
  if (length > 1) parts.push(narrow(kernel, 1, 0, length - 1));
  const around = reshape(concat(parts, 1), [heads, size, 1]);
  const made = fft({ real: around, imaginary: zeros(kernel.backend, around.shape, kernel.dtype) });
  return {
    real: reshape(made.real, [1, heads, size, 1]),
    imaginary: reshape(made.imaginary, [1, heads, size, 1]),
  };
}

/** A real matrix acts on real and imaginary parts alike, so half of the columns travel as imaginary parts. */
function packedColumns(x: Tensor, size: number): Complex {
  const [batch, heads, length, columns] = x.shape as readonly [number, number, number, number];
  const half = Math.ceil(columns / 2);
  const padded = padTo(reshape(x, [batch * heads, length, columns]), size);
  const real = narrow(padded, 2, 0, half);
  const rest = narrow(padded, 2, half, columns - half);
  if (2 * half === columns) return { real, imaginary: rest };
  const blank = zeros(x.backend, [batch * heads, size, 1], x.dtype);
  return { real, imaginary: columns === 1 ? blank : concat([rest, blank], 2) };
}

function unpacked({ real, imaginary }: Complex, shape: readonly [number, number, number, number]): Tensor {
  const [, , length, columns] = shape;
  const both = concat([real, imaginary], 2);
  return reshape(narrow(narrow(both, 1, 0, length), 2, 0, columns), shape);
}

/** x [G, n, C] with zeros up to `size` tokens. */
function padTo(x: Tensor, size: number): Tensor {
  const [groups, length, columns] = x.shape as readonly [number, number, number];
  return size === length ? x : concat([x, zeros(x.backend, [groups, size - length, columns], x.dtype)], 1);
}

function spectrum(packed: Complex, [batch, heads]: readonly [number, number]): Complex {
  const made = fft(packed);
  const [, size, columns] = made.real.shape as readonly [number, number, number];
  const shape = [batch, heads, size, columns];
  return { real: reshape(made.real, shape), imaginary: reshape(made.imaginary, shape) };
}

function times(a: Complex, b: Complex): Complex {
  return {
    real: sub(mul(a.real, b.real), mul(a.imaginary, b.imaginary)),
    imaginary: add(mul(a.real, b.imaginary), mul(a.imaginary, b.real)),
  };
}

function flat({ real, imaginary }: Complex, size: number): Complex {
  const [batch, heads, , columns] = real.shape as readonly [number, number, number, number];
  const shape = [batch * heads, size, columns];
  return { real: reshape(real, shape), imaginary: reshape(imaginary, shape) };
}
