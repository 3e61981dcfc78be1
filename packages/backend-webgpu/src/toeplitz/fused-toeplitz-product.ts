import type {
  DType,
  FusedOperation,
  Shape,
  ToeplitzProductInputs,
  ToeplitzProductOutputs,
  ToeplitzProductRequest,
} from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import { bufferSize } from '../runtime/pool.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { recordPass, recordSpectra } from './pass.js';
import {
  chunkSize,
  chunksOf,
  circleBytes,
  LOG_TILE,
  refusalsOf,
  type Split,
  spectrumBytes,
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
      const partBytes = isWhole ? 0 : size.heads * size.series * circleBytes(split);
      const spectra = bufferSize(spectrumBytes(request, split));
      return {
        scratchBytes: () => spectra + (isWhole ? 0 : bufferSize(partBytes)),
        largestBytes: () => Math.max(spectra, partBytes),
        describe: () => ({ variant: describeTransforms(split, chunksOf(request, size).length) }),
        run({ factors, x }) {
          const { batch, heads, length, columns } = request;
          const output = allocate([batch, heads, length, columns], 'f32');
          const spectrum = stream.scratch(spectrumBytes(request, split));
          recordSpectra(stream, request, split, { factors: factors.span, spectra: spectrum });
          const parts = isWhole ? undefined : stream.scratch(partBytes);
          for (const chunk of chunksOf(request, size)) {
            const place = { split, chunk };
            const [from, to] = [{ x: x.span }, { y: output.span }];
            if (parts === undefined) {
              const whole = { axis: 'rows', from: 'columns', does: 'product', to: 'columns' } as const;
              recordPass(stream, request, { ...place, ...whole }, { ...from, ...to, spectrum });
            } else {
              const there = { axis: 'columns', from: 'columns', does: 'forward', to: 'parts' } as const;
              recordPass(stream, request, { ...place, ...there }, { ...from, parts });
              const along = { axis: 'rows', from: 'parts', does: 'product', to: 'parts' } as const;
              recordPass(stream, request, { ...place, ...along }, { parts, spectrum });
              const back = { axis: 'columns', from: 'parts', does: 'inverse', to: 'columns' } as const;
              recordPass(stream, request, { ...place, ...back }, { ...to, parts });
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
