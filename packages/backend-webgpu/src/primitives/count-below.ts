import type { DType, Shape } from '@topk-attention/core';
import type {
  CountBelowInputs,
  CountBelowOutputs,
  CountBelowRequest,
  FusedOperation,
} from '@topk-attention/core/backend';
import { ALIGNMENT, windowOf } from '../runtime/binding.js';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import type { WebGpuTensor } from '../tensor.js';
import { kernelFamily, optional, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { forEachElement } from '../wgsl/text.js';
import { helperText } from './elementwise-wgsl.js';
import { splitRows } from './split-rows.js';

/**
 * Searches by halving, an invocation for each target: it reads its target once and log2(count) entries, and writes its
 * result once. One launch, or one for as many rows as a binding holds.
 */
export function countsBelow(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => WebGpuTensor,
): FusedOperation<CountBelowRequest, CountBelowInputs<WebGpuTensor>, CountBelowOutputs<WebGpuTensor>> {
  return {
    prepare({ rows, entries, targets, count, hasFirst }) {
      if (rows * targets === 0) return { refusals: ['no targets'] };
      const rowBytes = 4 * Math.max(entries, targets);
      if (rowBytes > facts.bindingBytes - ALIGNMENT) {
        return { refusals: [`a row exceeds a binding of ${facts.bindingBytes} bytes`] };
      }
      return {
        scratchBytes: () => 0,
        describe: () => ({ variant: 'one pass' }),
        run(inputs) {
          const below = allocate([rows, targets], 'i32');
          for (const range of splitRows(stream, 'countBelow', rows, rowBytes, 1)) {
            const [start, own] = [range.first * targets, range.count * targets];
            searchKernel({ hasFirst }).launch(stream, {
              uniforms: { count: own, entries, each: targets, run: count },
              buffers: {
                table: windowOf(inputs.table, range.first * entries, range.count * entries),
                targets: windowOf(inputs.targets, start, own),
                first: inputs.first && windowOf(inputs.first, start, own),
                below: windowOf(below, start, own),
              },
              workgroups: { invocations: own },
            });
          }
          return { below };
        },
      };
    },
  };
}

/** Compares by bits as the ops do, subnormals too: the entries that are looked at, and the results, are theirs. */
const searchKernel = kernelFamily('count-below', ({ hasFirst }: { readonly hasFirst: boolean }) => ({
  uniforms: { count: 'u32', entries: 'u32', each: 'u32', run: 'u32' },
  buffers: {
    table: readFrom('u32'),
    targets: readFrom('u32'),
    first: optional(hasFirst, readFrom('i32')),
    below: writeTo('i32'),
  },
  workgroup: 64,
  source: () => `${helperText(['isNaN', 'key'])}
/** Whether the entry at a place of the row from \`start\` on lies below a number; at -1 it is 0, else outside NaN. */
fn is_below(start: u32, place: i32, key: u32) -> bool {
  if (place == -1) { return key_of(0u) < key; }
  if (place < 0 || u32(place) >= params.entries) { return false; }
  let bits = table[start + u32(place)];
  return !is_nan(bits) && key_of(bits) < key;
}

${forEachElement(`let wanted = targets[params.targets_base + at];
  let begin = ${hasFirst ? 'first[params.first_base + at]' : '0'};
  let start = params.table_base + at / params.each * params.entries;
  let key = key_of(wanted);
  var low = begin;
  // No entry is below NaN.
  var left = select(params.run, 0u, is_nan(wanted));
  while (left > 1u) {
    let half = left / 2u;
    if (is_below(start, low + i32(half) - 1, key)) { low += i32(half); }
    left -= half;
  }
  if (left == 1u && is_below(start, low, key)) { low += 1; }
  below[params.below_base + at] = low - begin;`)}`,
}));
