import type {
  DType,
  FusedOperation,
  Shape,
  ToeplitzProductBackwardInputs,
  ToeplitzProductGradients,
  ToeplitzProductRequest,
} from '@topk-attention/core/backend';
import type { Binding } from '../runtime/binding.js';
import type { DeviceFacts } from '../runtime/facts.js';
import { bufferSize } from '../runtime/pool.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { describeTransforms } from './fused-toeplitz-product.js';
import { blocksOf, LOG_HALF_TILE, recordGradients, recordSums } from './gradients.js';
import { recordBack, recordDistances, recordSpectra, recordThere } from './pass.js';
import { boundOf, chunkSize, chunksOf, circleBytes, refusalsOf, splitOf } from './sizes.js';

/** Copies of a series that a chunk holds: those of the gradient and of x, and at most one in sums. */
const COPIES = 3;

/**
 * Gradients of Toeplitz products. That of x is the product with the transposed matrix. That of the factors is the
 * correlation of the output's gradient with x: the products of their spectra are summed over series in a fixed order, and
 * only the sum of a head is transformed back. Both need the spectrum of the output's gradient, which is made once.
 */
export function fusedToeplitzBackward<T extends View>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => T,
): FusedOperation<ToeplitzProductRequest, ToeplitzProductBackwardInputs<T>, ToeplitzProductGradients<T>> {
  return {
    prepare(request, limits) {
      const refusals = refusalsOf(request, LOG_HALF_TILE, facts);
      if (refusals.length > 0) return { refusals };
      const split = splitOf(request, LOG_HALF_TILE);
      const size = chunkSize(request, split, COPIES, limits, facts);
      const isWhole = split.logRows === 0;
      const spectrumBytes = size.heads * circleBytes(split);
      const sumBytes = request.heads * circleBytes(split);
      const partBytes = isWhole ? 0 : size.series * spectrumBytes;
      const correlationBytes = blocksOf(split, size.series) * spectrumBytes;
      const scratch = [spectrumBytes, sumBytes, correlationBytes, ...(isWhole ? [] : [partBytes, partBytes])];
      return {
        scratchBytes: () => scratch.reduce((bytes, one) => bytes + bufferSize(one), 0),
        largestBytes: () => Math.max(...scratch),
        describe: () => ({ variant: describeTransforms(split, chunksOf(request, size).length) }),
        run({ factors, x, dOutput }) {
          const made = { factors: allocate(factors.shape, 'f32'), x: allocate(x.shape, 'f32') };
          const spectrum = stream.scratch(spectrumBytes);
          const sums = stream.scratch(sumBytes);
          const correlations = stream.scratch(correlationBytes);
          const [ofG, ofX] = isWhole ? [] : [stream.scratch(partBytes), stream.scratch(partBytes)];
          for (const chunk of chunksOf(request, size)) {
            const kernels = chunk.isFirst ? { factors: factors.span, spectrum } : undefined;
            const [g, source, y] = [dOutput, x, made.x].map((one) => boundOf(request, chunk, one)) as [
              Binding,
              Binding,
              Binding,
            ];
            const shared = { spectrum, correlations };
            if (ofG === undefined || ofX === undefined) {
              if (kernels !== undefined) recordSpectra(stream, request, split, chunk, kernels);
              recordGradients(stream, request, split, chunk, { ...shared, g, x: source, y });
            } else {
              recordThere(stream, request, split, chunk, { x: g, parts: ofG, kernels });
              recordThere(stream, request, split, chunk, { x: source, parts: ofX });
              recordGradients(stream, request, split, chunk, { ...shared, parts: ofG, x_parts: ofX });
              recordBack(stream, request, split, chunk, { parts: ofG, y });
            }
            recordSums(stream, split, chunk, { correlations, sums });
            stream.flush();
          }
          recordDistances(stream, request, split, { spectra: sums, distances: made.factors.span });
          for (const one of [spectrum, sums, correlations, ofG, ofX]) {
            if (one !== undefined) stream.release(one);
          }
          return made;
        },
      };
    },
  };
}
