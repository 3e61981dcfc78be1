import type { DType, Shape } from '@topk-attention/core';
import type {
  CrossEntropyBackwardInputs,
  CrossEntropyGradients,
  CrossEntropyInputs,
  CrossEntropyOutputs,
  CrossEntropyRequest,
  FusedOperation,
} from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import type { WebGpuTensor } from '../tensor.js';
import { defineKernel, kernelFamily, optional, read, write } from '../wgsl/define-kernel.js';
import { fill } from '../wgsl/fill.js';
import { NAN_BITS, times } from '../wgsl/text.js';
import { text as meanText } from './cross-entropy-mean.wgsl.js';
import { text as rowsText } from './cross-entropy-rows.wgsl.js';
import { lanesOf, ROW_INVOCATIONS } from './row-lanes.js';
import { rowSums, runningSum } from './row-sums.js';

/** Logits of a row for each invocation: a choice. */
const EACH = 8;
/** Up to this many logits, one workgroup goes through all rows and needs no second launch for their mean: a choice. */
const FEW_LOGITS = 8192;

type Allocate = (shape: Shape, dtype: DType) => WebGpuTensor;

/** The loss and the statistics of its rows in one pass over the logits; the mean of many rows in a second launch. */
export function crossEntropies(
  stream: Stream,
  facts: DeviceFacts,
  allocate: Allocate,
): FusedOperation<CrossEntropyRequest, CrossEntropyInputs<WebGpuTensor>, CrossEntropyOutputs<WebGpuTensor>> {
  return {
    prepare(request) {
      const refusals = refusalsOf(request, facts);
      if (refusals.length > 0) return { refusals };
      const { rows, classes, labelSmoothing } = request;
      const isWhole = rows * classes <= FEW_LOGITS;
      const lanes = lanesOf(classes, EACH);
      return {
        scratchBytes: () => (isWhole ? 0 : 4 * rows),
        describe: () => ({
          variant: `${isWhole ? 'one workgroup' : 'one pass'}, ${lanes} invocations a row`,
        }),
        run({ logits, targets }) {
          const made = {
            loss: allocate([], 'f32'),
            statistics: allocate([rows, 2], 'f32'),
            count: allocate([], 'f32'),
          };
          const [loss, statistics, count] = [made.loss.span, made.statistics.span, made.count.span];
          const losses = isWhole ? undefined : stream.scratch(4 * rows);
          const ofMean = isWhole ? { loss, count } : {};
          rowsKernel({ lanes, isVec: classes % 4 === 0, isSmooth: labelSmoothing > 0, isWhole }).launch(
            stream,
            {
              uniforms: { rows, classes, smoothing: labelSmoothing },
              buffers: { logits: logits.span, targets: targets.span, statistics, losses, ...ofMean },
              workgroups: isWhole ? 1 : { invocations: rows * lanes },
            },
          );
          if (losses !== undefined) {
            meanKernel.launch(stream, {
              uniforms: { rows },
              buffers: { losses, targets: targets.span, loss, count },
              workgroups: 1,
            });
            stream.release(losses);
          }
          return made;
        },
      };
    },
  };
}

/** (softmax - target) * scale, in one launch that reads and writes every logit once. */
export function crossEntropyGradients(
  stream: Stream,
  facts: DeviceFacts,
  allocate: Allocate,
): FusedOperation<
  CrossEntropyRequest,
  CrossEntropyBackwardInputs<WebGpuTensor>,
  CrossEntropyGradients<WebGpuTensor>
> {
  return {
    prepare(request) {
      const refusals = refusalsOf(request, facts);
      if (refusals.length > 0) return { refusals };
      const { rows, classes, labelSmoothing } = request;
      return {
        scratchBytes: () => 0,
        describe: () => ({ variant: 'one pass' }),
        run({ logits, targets, statistics, count, dLoss }) {
          const out = allocate([rows, classes], 'f32');
          const isVec = classes % 4 === 0;
          const units = isVec ? classes / 4 : classes;
          gradientKernel({ isVec }).launch(stream, {
            uniforms: { rows, units, certain: 1 - labelSmoothing, spread: labelSmoothing / classes },
            buffers: {
              logits: logits.span,
              targets: targets.span,
              statistics: statistics.span,
              count: count.span,
              d_loss: dLoss.span,
              out: out.span,
            },
            workgroups: { invocations: rows * units },
          });
          return { logits: out };
        },
      };
    },
  };
}

function refusalsOf({ dtype, rows, classes }: CrossEntropyRequest, facts: DeviceFacts): readonly string[] {
  const refusals: string[] = [];
  if (dtype !== 'f32') refusals.push(`${dtype}: made for f32`);
  if (rows * classes === 0) refusals.push('no logits');
  if (4 * rows * Math.max(2, classes) > facts.bindingBytes) {
    refusals.push(`a tensor exceeds a binding of ${facts.bindingBytes} bytes`);
  }
  return refusals;
}

interface RowsVariant {
  /** Invocations that share a row. */
  readonly lanes: number;
  /** Four neighbours are read at once. */
  readonly isVec: boolean;
  readonly isSmooth: boolean;
  /** A single workgroup, which computes the mean too. */
  readonly isWhole: boolean;
}

/** `load_quad`: bits of logits j to j + 3 of a row, -inf beyond its end; `load_one`: of one logit. */
function loads(isVec: boolean): string {
  if (isVec) {
    return `fn load_quad(start: u32, j: u32, width: u32) -> vec4u { return logits[(start + j) / 4u]; }
fn load_one(at: u32) -> u32 { return logits[at / 4u][at % 4u]; }`;
  }
  return `fn load_quad(start: u32, j: u32, width: u32) -> vec4u {
  var bits = vec4u(MINUS_INF_BITS);
  ${times(4, (i) => `if (j + ${i}u < width) { bits[${i}] = logits[start + j + ${i}u]; }`, '\n  ')}
  return bits;
}
fn load_one(at: u32) -> u32 { return logits[at]; }`;
}

const nanBits = `const NAN_BITS = ${NAN_BITS}u;`;

const entry = `@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {`;

/** Rows by groups of invocations. 3 KiB of workgroup memory. */
const rowsKernel = kernelFamily('cross-entropy rows', ({ lanes, isVec, isSmooth, isWhole }: RowsVariant) => ({
  uniforms: { rows: 'u32', classes: 'u32', smoothing: 'f32' },
  buffers: {
    logits: read(isVec ? 'vec4u' : 'u32'),
    targets: read('i32'),
    statistics: write('vec2u'),
    losses: optional(!isWhole, write('u32')),
    loss: optional(isWhole, write('u32')),
    count: optional(isWhole, write('f32')),
  },
  workgroup: ROW_INVOCATIONS,
  source: () => `${nanBits}
${rowSums(lanes, true)}
${loads(isVec)}
${fill(rowsText, { is_smooth: isSmooth, running_sum: runningSum })}${isWhole ? meanText : ''}
${entry}
${
  isWhole
    ? `  var sum = 0.0;
  var counted = 0u;
  for (var first = 0u; first < params.rows; first += ROWS) {
    let row = first + local / LANES;
    sum += bitcast<f32>(row_loss(row, local));
    if (local % LANES == 0u && row < params.rows) { counted += u32(targets[row] != -1); }
  }
  finish(local, sum, counted);`
    : `  let row = (workgroup.x + workgroup.y * groups.x) * ROWS + local / LANES;
  let bits = row_loss(row, local);
  if (local % LANES == 0u && row < params.rows) { losses[row] = bits; }`
}
}`,
}));

/** The mean of the rows' losses, always in the same order. */
const meanKernel = defineKernel({
  key: 'cross-entropy mean',
  uniforms: { rows: 'u32' },
  buffers: { losses: read('f32'), targets: read('i32'), loss: write('u32'), count: write('f32') },
  workgroup: ROW_INVOCATIONS,
  source: () => `${nanBits}
${meanText}
${entry}
  var sum = 0.0;
  var counted = 0u;
  for (var row = local; row < params.rows; row += INVOCATIONS) {
    sum += losses[row];
    counted += u32(targets[row] != -1);
  }
  finish(local, sum, counted);
}`,
});

const gradientKernel = kernelFamily('cross-entropy gradient', ({ isVec }: { readonly isVec: boolean }) => {
  const [floats, words] = isVec ? ['vec4f', 'vec4u'] : ['f32', 'u32'];
  return {
    uniforms: { rows: 'u32', units: 'u32', certain: 'f32', spread: 'f32' },
    buffers: {
      logits: read(floats),
      targets: read('i32'),
      statistics: read('vec2f'),
      count: read('f32'),
      d_loss: read('f32'),
      out: write(words),
    },
    workgroup: ROW_INVOCATIONS,
    source: () => `${nanBits}
${entry}
  let at = (workgroup.x + workgroup.y * groups.x) * INVOCATIONS + local;
  let row = at / params.units;
  if (row >= params.rows) { return; }
  let label = targets[row];
  if (label == -1) { out[at] = ${words}(); return; }
  let of_row = statistics[row];
  let first = (at - row * params.units)${isVec ? ' * 4u' : ''};
  let classes = params.units${isVec ? ' * 4u' : ''};
  let is_nan = (bitcast<u32>(of_row.x) & 0x7fffffffu) > 0x7f800000u;
  if (is_nan || label < 0 || u32(label) >= classes) { out[at] = ${words}(NAN_BITS); return; }
  // A logit of -inf has no weight, also where the compiler knows of no infinities.
  let likely = exp(max(logits[at] - of_row.x, ${floats}(-200.0)) - of_row.y);
  let wanted = select(${floats}(params.spread), ${floats}(params.spread + params.certain), ${
    isVec ? 'vec4u(first, first + 1u, first + 2u, first + 3u) == vec4u(u32(label))' : 'first == u32(label)'
  });
  out[at] = bitcast<${words}>((likely - wanted) * (d_loss[0] / count[0]));
}`,
  };
});
