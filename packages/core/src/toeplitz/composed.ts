import type { ToeplitzProductRequest } from '../contract/toeplitz-product.js';
import { tensor, zeros } from '../ops/create.js';
import { add, cast, mul, sub } from '../ops/elementwise.js';
import { concat, narrow, reshape } from '../ops/layout.js';
import { sum } from '../ops/reduce.js';
import { takeAlong } from '../ops/select.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { circleSize } from './circle-size.js';
import { type Complex, fft, inverseFft } from './fft.js';

/** factors [H, 2 n - 1], x [B, H, n, C] -> sum_j factors_(j - i) x_j, [B, H, n, C], computed in f32. */
export function composedProduct(request: ToeplitzProductRequest, factors: Tensor, x: Tensor): Tensor {
  // y_i = sum over d of factors_(-d) x_(i - d): a convolution with the distances turned around.
  return convolution(request, () => reversed(cast(factors, 'f32')), x);
}

/** Gradients of both, from that of the output. */
export function composedGradients(
  request: ToeplitzProductRequest,
  factors: Tensor,
  x: Tensor,
  dOutput: Tensor,
): { readonly factors: Tensor; readonly x: Tensor } {
  return {
    factors: factorGradient(request, dOutput, x),
    // Transposed, distances change their sign.
    x: convolution(request, () => cast(factors, 'f32'), dOutput),
  };
}

/** sum over d of kernel_d x_(i - d), for kernels [H, 2 n - 1] of the distances -(n - 1) to n - 1. */
function convolution(request: ToeplitzProductRequest, kernel: () => Tensor, x: Tensor): Tensor {
  return scope(() => {
    const ofKernel = kernelSpectrum(request, kernel);
    const signal = consumed(packedColumns(request, x), fft);
    const { real, imaginary } = consumed(byHeads(request, signal), (one) => times(one, ofKernel));
    for (const one of [ofKernel.real, ofKernel.imaginary]) one.dispose();
    const back = consumed(flat(request, { real, imaginary }), inverseFft);
    return cast(unpacked(request, back), request.dtype);
  });
}

/** d factors_l = sum over i, columns and sequences of g_i x_(i + l): a correlation. */
function factorGradient(request: ToeplitzProductRequest, g: Tensor, x: Tensor): Tensor {
  const { heads, length, dtype } = request;
  const size = circleSize(length);
  return scope(() => {
    const summed = scope(() => {
      const spectrumOf = (one: Tensor): Complex =>
        byHeads(request, consumed(packedColumns(request, one), fft));
      const { real, imaginary } = timesConjugate(spectrumOf(g), spectrumOf(x));
      const total = (one: Tensor): Tensor => widened(sum(one, { axes: [0, 3] }));
      return { real: total(real), imaginary: total(imaginary) };
    });
    // Of two columns in one complex number, the real part of the correlation is the sum of theirs.
    const correlation = reshape(inverseFft(summed).real, [heads, size]);
    // Distance l stands at l, negative ones at the end.
    const positive = narrow(correlation, 1, 0, length);
    if (length === 1) return cast(positive, dtype);
    return cast(concat([narrow(correlation, 1, size - length + 1, length - 1), positive], 1), dtype);
  });
}

/** f of a value that nothing else uses, which is freed. */
function consumed(made: Complex, f: (x: Complex) => Complex): Complex {
  const next = scope(() => f(made));
  made.real.dispose();
  made.imaginary.dispose();
  return next;
}

/** [H, size] -> [H, size, 1] */
const widened = (x: Tensor): Tensor => reshape(x, [...x.shape, 1]);

/** Factors by the opposite distances. */
function reversed(factors: Tensor): Tensor {
  const [heads, count] = factors.shape as readonly [number, number];
  const from = Int32Array.from({ length: heads * count }, (_, at) => count - 1 - (at % count));
  return scope(() => takeAlong(factors, tensor(factors.backend, from, [heads, count])));
}

/** Spectrum [1, H, size, 1] of a kernel, with distance d at d and negative distances at the end. */
function kernelSpectrum({ heads, length }: ToeplitzProductRequest, kernel: () => Tensor): Complex {
  const size = circleSize(length);
  return scope(() => {
    const around = scope(() => {
      const all = kernel();
      const positive = narrow(all, 1, length - 1, length);
      if (length === 1) return positive.alias();
      const gap = zeros(all.backend, [heads, size - (2 * length - 1)]);
      return concat([positive, gap, narrow(all, 1, 0, length - 1)], 1);
    });
    const real = widened(around);
    const made = fft({ real, imaginary: zeros(around.backend, real.shape) });
    const shape = [1, heads, size, 1];
    return { real: reshape(made.real, shape), imaginary: reshape(made.imaginary, shape) };
  });
}

/**
 * [B H, size, ceil(C / 2)], with zeros behind the tokens. A real matrix acts on real and imaginary parts alike, so half of
 * the columns travel as imaginary parts.
 */
function packedColumns(request: ToeplitzProductRequest, x: Tensor): Complex {
  const { batch, heads, length, columns } = request;
  const size = circleSize(length);
  const half = Math.ceil(columns / 2);
  return scope(() => {
    const rows = cast(reshape(x, [batch * heads, length, columns]), 'f32');
    const behind = (count: number, width: number): Tensor => zeros(x.backend, [batch * heads, count, width]);
    const padded = size === length ? rows : concat([rows, behind(size - length, columns)], 1);
    const real = narrow(padded, 2, 0, half);
    if (columns === 1) return { real, imaginary: behind(size, 1) };
    const rest = narrow(padded, 2, half, columns - half);
    return { real, imaginary: 2 * half === columns ? rest : concat([rest, behind(size, 1)], 2) };
  });
}

function unpacked(
  { batch, heads, length, columns }: ToeplitzProductRequest,
  { real, imaginary }: Complex,
): Tensor {
  return scope(() => {
    const [a, b] = [narrow(real, 1, 0, length), narrow(imaginary, 1, 0, length)];
    return reshape(narrow(concat([a, b], 2), 2, 0, columns), [batch, heads, length, columns]);
  });
}

function byHeads({ batch, heads }: ToeplitzProductRequest, { real, imaginary }: Complex): Complex {
  const [, size, columns] = real.shape as readonly [number, number, number];
  return viewed({ real, imaginary }, [batch, heads, size, columns]);
}

function flat({ batch, heads }: ToeplitzProductRequest, { real, imaginary }: Complex): Complex {
  const [, , size, columns] = real.shape as readonly [number, number, number, number];
  return viewed({ real, imaginary }, [batch * heads, size, columns]);
}

/** The same in another shape, in the place of the first. */
function viewed(made: Complex, shape: readonly number[]): Complex {
  return consumed(made, ({ real, imaginary }) => ({
    real: reshape(real, shape),
    imaginary: reshape(imaginary, shape),
  }));
}

function times(a: Complex, b: Complex): Complex {
  return {
    real: scope(() => sub(mul(a.real, b.real), mul(a.imaginary, b.imaginary))),
    imaginary: scope(() => add(mul(a.real, b.imaginary), mul(a.imaginary, b.real))),
  };
}

/** conj(a) b */
function timesConjugate(a: Complex, b: Complex): Complex {
  return {
    real: scope(() => add(mul(a.real, b.real), mul(a.imaginary, b.imaginary))),
    imaginary: scope(() => sub(mul(a.real, b.imaginary), mul(a.imaginary, b.real))),
  };
}
