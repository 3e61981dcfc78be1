import type {
  DType,
  FusedOperation,
  Shape,
  ToeplitzProductBackwardInputs,
  ToeplitzProductGradients,
  ToeplitzProductRequest,
} from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import { bufferSize } from '../runtime/pool.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { describeTransforms } from './fused-toeplitz-product.js';
import { blocksOf, LOG_HALF_TILE, recordGradients, recordSums } from './gradients.js';
import { recordDistances, recordPass, recordSpectra } from './pass.js';
import { chunkSize, chunksOf, circleBytes, refusalsOf, spectrumBytes, splitOf } from './sizes.js';

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
      const spectra = spectrumBytes(request, split);
      const partBytes = size.heads * size.series * circleBytes(split);
      const correlationBytes = size.heads * blocksOf(split, size.series) * circleBytes(split);
      const parts = isWhole ? 0 : 2 * bufferSize(partBytes);
      return {
        scratchBytes: () => 2 * bufferSize(spectra) + bufferSize(correlationBytes) + parts,
        largestBytes: () => Math.max(spectra, correlationBytes, isWhole ? 0 : partBytes),
        describe: () => ({ variant: describeTransforms(split, chunksOf(request, size).length) }),
        run({ factors, x, dOutput }) {
          const made = { factors: allocate(factors.shape, 'f32'), x: allocate(x.shape, 'f32') };
          const spectrum = stream.scratch(spectra);
          const sums = stream.scratch(spectra);
          const correlations = stream.scratch(correlationBytes);
          const [ofG, ofX] = isWhole ? [] : [stream.scratch(partBytes), stream.scratch(partBytes)];
          recordSpectra(stream, request, split, { factors: factors.span, spectra: spectrum });
          for (const chunk of chunksOf(request, size)) {
            const shared = { spectrum, correlations };
            if (ofG === undefined || ofX === undefined) {
              const whole = { g: dOutput.span, x: x.span, y: made.x.span };
              recordGradients(stream, request, split, chunk, { ...shared, ...whole });
            } else {
              const place = { split, chunk, axis: 'columns' } as const;
              const there = { ...place, from: 'columns', does: 'forward', to: 'parts' } as const;
              recordPass(stream, request, there, { x: dOutput.span, parts: ofG });
              recordPass(stream, request, there, { x: x.span, parts: ofX });
              recordGradients(stream, request, split, chunk, { ...shared, parts: ofG, x_parts: ofX });
              const back = { ...place, from: 'parts', does: 'inverse', to: 'columns' } as const;
              recordPass(stream, request, back, { parts: ofG, y: made.x.span });
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
