import type {
  DType,
  FusedOperation,
  Shape,
  ToeplitzProductInputs,
  ToeplitzProductOutputs,
  ToeplitzProductRequest,
} from '@topk-attention/core/backend';
import type { Binding } from '../runtime/binding.js';
import type { DeviceFacts } from '../runtime/facts.js';
import { bufferSize } from '../runtime/pool.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { recordBack, recordRows, recordSpectra, recordThere, recordWhole } from './pass.js';
import {
  boundOf,
  chunkSize,
  chunksOf,
  circleBytes,
  LOG_TILE,
  refusalsOf,
  type Split,
  splitOf,
} from './sizes.js';

/**
 * Toeplitz products by Fourier transforms in workgroup memory. Up to 1,024 tokens, a workgroup transforms whole columns,
 * multiplies them by the spectrum of their head's kernel and transforms them back. More tokens are a matrix of about as
 * many rows as columns: one pass along its columns, one along its rows there and back, and one back along its columns.
 */
export function fusedToeplitzProduct<T extends View>(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => T,
): FusedOperation<ToeplitzProductRequest, ToeplitzProductInputs<T>, ToeplitzProductOutputs<T>> {
  return {
    prepare(request, limits) {
      const refusals = refusalsOf(request, LOG_TILE, facts);
      if (refusals.length > 0) return { refusals };
      const split = splitOf(request, LOG_TILE);
      const size = chunkSize(request, split, 1, limits, facts);
      const isWhole = split.logRows === 0;
      const spectrumBytes = size.heads * circleBytes(split);
      const partBytes = isWhole ? 0 : size.series * spectrumBytes;
      return {
        scratchBytes: () => bufferSize(spectrumBytes) + (isWhole ? 0 : bufferSize(partBytes)),
        largestBytes: () => Math.max(spectrumBytes, partBytes),
        describe: () => ({ variant: describeTransforms(split, chunksOf(request, size).length) }),
        run({ factors, x }) {
          const { batch, heads, length, columns } = request;
          const output = allocate([batch, heads, length, columns], 'f32');
          const spectrum = stream.scratch(spectrumBytes);
          const parts = isWhole ? undefined : stream.scratch(partBytes);
          for (const chunk of chunksOf(request, size)) {
            const kernels = chunk.isFirst ? { factors: factors.span, spectrum } : undefined;
            const [source, y] = [x, output].map((one) => boundOf(request, chunk, one)) as [Binding, Binding];
            if (parts === undefined) {
              if (kernels !== undefined) recordSpectra(stream, request, split, chunk, kernels);
              recordWhole(stream, request, split, chunk, { x: source, spectrum, y });
            } else {
              recordThere(stream, request, split, chunk, { x: source, parts, kernels });
              recordRows(stream, request, split, chunk, { parts, spectrum });
              recordBack(stream, request, split, chunk, { parts, y });
            }
            stream.flush();
          }
          if (parts !== undefined) stream.release(parts);
          stream.release(spectrum);
          return { output };
        },
      };
    },
  };
}

/** As `explain()` says it. */
export function describeTransforms({ logTotal, logRows, logRow }: Split, chunks: number): string {
  const form = logRows === 0 ? 'in one pass' : `as ${2 ** logRows} x ${2 ** logRow}`;
  return `transforms of ${2 ** logTotal} ${form}, ${chunks} ${chunks === 1 ? 'chunk' : 'chunks'}`;
}
