import { bytesPerElement } from '../contract/dtype.js';
import type { ToeplitzProductRequest } from '../contract/toeplitz-product.js';
import type { PassBytes } from '../operation/define.js';
import { circleSize } from './circle-size.js';

const factorBytes = ({ heads, length, dtype }: ToeplitzProductRequest): number =>
  heads * (2 * length - 1) * bytesPerElement(dtype);

const columnBytes = ({ batch, heads, length, columns, dtype }: ToeplitzProductRequest): number =>
  batch * heads * length * columns * bytesPerElement(dtype);

export function forwardBytes(request: ToeplitzProductRequest): PassBytes {
  const output = columnBytes(request);
  return { inputs: factorBytes(request) + output, output, saved: 0, largest: output };
}

/** The same for the backward pass, which also takes the output's gradient and returns those of the inputs. */
export function backwardBytes(request: ToeplitzProductRequest): PassBytes {
  const [factors, x] = [factorBytes(request), columnBytes(request)];
  return { inputs: factors + 2 * x, output: factors + x, saved: 0, largest: x };
}

/** Bytes of real or imaginary parts: of all columns, two to a complex number, and of the kernels. */
function partBytes({ batch, heads, length, columns }: ToeplitzProductRequest) {
  const size = circleSize(length);
  return { size, part: 4 * batch * heads * size * Math.ceil(columns / 2), kernel: 4 * heads * size };
}

/** A transform of parts of that size, beside its input: what a stage holds at its end. */
const transformBytes = (part: number, size: number): number => (size > 1 ? 11 * part + 4 * size : 0);

/** Widened factors and x, if they are halves. */
function widenedBytes(request: ToeplitzProductRequest): { readonly factors: number; readonly x: number } {
  if (request.dtype === 'f32') return { factors: 0, x: 0 };
  return { factors: 2 * factorBytes(request), x: 2 * columnBytes(request) };
}

/** The worst moment of the composed product. */
function productPeak(request: ToeplitzProductRequest): number {
  const { size, part, kernel } = partBytes(request);
  const widened = widenedBytes(request);
  const factors = 4 * request.heads * (2 * request.length - 1);
  return Math.max(
    widened.factors + 2 * factors + 2 * kernel,
    2 * kernel + transformBytes(kernel, size),
    2 * kernel + widened.x + (size > 1 ? 5 : 2) * part,
    2 * kernel + 2 * part + transformBytes(part, size),
    2 * kernel + 6 * part,
    3 * part + transformBytes(part, size),
    5 * part + widened.x,
  );
}

/** Transient bytes of the composed product, in addition to its result. */
export function composedScratch(request: ToeplitzProductRequest): number {
  return Math.max(0, productPeak(request) - columnBytes(request));
}

/** The same of the composed gradients: those of the factors come first. */
export function composedBackwardScratch(request: ToeplitzProductRequest): number {
  const { size, part, kernel } = partBytes(request);
  const [factors, x] = [factorBytes(request), columnBytes(request)];
  const correlation = Math.max(
    4 * part + transformBytes(part, size),
    8 * part,
    5 * kernel + transformBytes(kernel, size),
  );
  return Math.max(0, correlation - factors - x, productPeak(request) - x);
}

/** The largest single tensor: all columns with zeros behind the tokens. */
export function composedLargest(request: ToeplitzProductRequest): number {
  const { part, kernel } = partBytes(request);
  return Math.max(2 * part, kernel);
}
