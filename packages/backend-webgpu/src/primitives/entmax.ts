import type { DType, Shape } from '@topk-attention/core';
import {
  type EntmaxGradientInputs,
  type EntmaxGradients,
  type EntmaxInputs,
  type EntmaxOutputs,
  type EntmaxRequest,
  entmaxSteps,
  type FusedOperation,
} from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import type { WebGpuTensor } from '../tensor.js';
import { kernelFamily, optional, read, write } from '../wgsl/define-kernel.js';
import { fill } from '../wgsl/fill.js';
import { range, times } from '../wgsl/text.js';
import { text as forwardText } from './entmax.wgsl.js';
import { text as gradientText } from './entmax-gradient.wgsl.js';
import { lanesOf, ROW_INVOCATIONS } from './row-lanes.js';
import { loadFloats } from './row-loads.js';
import {
  type RowMaskKind,
  rowMaskOf,
  rowMaskPlaces,
  rowMaskUniforms,
  rowRefusals,
  seenFrom,
} from './row-masks.js';
import { text as pairsText } from './row-pairs.wgsl.js';
import { rowSums } from './row-sums.js';
import { rowsOf } from './split-rows.js';

/** Groups of four entries that an invocation holds in registers: of the scores, or of weights and gradients. */
const MOST_QUADS = { forward: 8, gradient: 4 } as const;
/** Parts of a row that one invocation adds: more in one step cost more than another step. */
const ADDED = 16;

type Allocate = (shape: Shape, dtype: DType) => WebGpuTensor;

/**
 * Entmax in one pass: 256 / lanes rows a workgroup, each held in registers up to 8,192 entries, else read again for each of
 * Newton's steps. 5 KiB of workgroup memory at most.
 */
export function entmaxes(
  stream: Stream,
  facts: DeviceFacts,
  allocate: Allocate,
): FusedOperation<EntmaxRequest, EntmaxInputs<WebGpuTensor>, EntmaxOutputs<WebGpuTensor>> {
  return {
    prepare(request) {
      const refusals = rowRefusals(request, facts, 'no scores');
      if (refusals.length > 0) return { refusals };
      const mask = rowMaskOf(request);
      const { rows, width } = rowsOf(request.shape);
      const layout = layoutOf(width, MOST_QUADS.forward);
      return {
        scratchBytes: () => 0,
        describe: () => ({ variant: describeLayout(layout) }),
        run({ scores, visible }) {
          const weights = allocate(request.shape, 'f32');
          forwardKernel({ ...layout, mask: mask?.kind ?? 'none' }).launch(stream, {
            uniforms: { rows, width, steps: entmaxSteps(width), ...rowMaskPlaces(mask) },
            buffers: { scores: scores.span, visible: visible?.span, out: weights.span },
            workgroups: { invocations: rows * layout.lanes },
          });
          return { weights };
        },
      };
    },
  };
}

/** s (g - (s . g) / sum s), s the roots of the weights, in one pass; rows of up to 4,096 entries are read once. */
export function entmaxGradients(
  stream: Stream,
  facts: DeviceFacts,
  allocate: Allocate,
): FusedOperation<EntmaxRequest, EntmaxGradientInputs<WebGpuTensor>, EntmaxGradients<WebGpuTensor>> {
  return {
    prepare(request) {
      const refusals = rowRefusals(request, facts, 'no scores');
      if (refusals.length > 0) return { refusals };
      const { rows, width } = rowsOf(request.shape);
      const layout = layoutOf(width, MOST_QUADS.gradient);
      return {
        scratchBytes: () => 0,
        describe: () => ({ variant: describeLayout(layout) }),
        run({ weights, dWeights }) {
          const scores = allocate(request.shape, 'f32');
          gradientKernel(layout).launch(stream, {
            uniforms: { rows, width },
            buffers: { weights: weights.span, given: dWeights.span, out: scores.span },
            workgroups: { invocations: rows * layout.lanes },
          });
          return { scores };
        },
      };
    },
  };
}

interface Layout {
  /** Invocations that share a row. */
  readonly lanes: number;
  /** Groups of four entries per invocation; 0: the row is read again. */
  readonly quads: number;
  /** Four neighbours are read and written at once. */
  readonly isVec: boolean;
}

function layoutOf(width: number, mostQuads: number): Layout {
  const lanes = lanesOf(width, 4 * mostQuads);
  const quads = Math.ceil(width / (4 * lanes));
  return { lanes, quads: quads > mostQuads ? 0 : quads, isVec: width % 4 === 0 };
}

function describeLayout({ lanes, quads }: Layout): string {
  return `one pass, ${lanes} invocations a row${quads === 0 ? ' that read it again' : ''}`;
}

interface ForwardVariant extends Layout {
  readonly mask: RowMaskKind;
}

const forwardKernel = kernelFamily('entmax', ({ lanes, quads, isVec, mask }: ForwardVariant) => {
  const word = isVec ? 'vec4u' : 'u32';
  const each = range(quads);
  const place = (q: number): string => `first + ${q}u * 4u * LANES`;
  return {
    uniforms: {
      rows: 'u32',
      width: 'u32',
      steps: 'u32',
      ...rowMaskUniforms,
    },
    buffers: {
      scores: read(word),
      visible: optional(mask !== 'none', read(mask === 'entries' ? word : 'u32')),
      out: write(isVec ? 'vec4f' : 'f32'),
    },
    workgroup: ROW_INVOCATIONS,
    source: () => `${rowSums(lanes, false)}
${rowPairs(lanes)}
${seenFrom(mask)}
${loadScores(isVec, mask)}
${storeQuad(isVec)}
${fill(forwardText, {
  is_held: quads > 0,
  held_key: `${each.map((q) => `let bits_${q} = load_quad(start, seen, ${place(q)}, width);`).join('\n  ')}
  let key = row_key(local, ${each.map((q) => `quad_key(bits_${q})`).reduce((a, b) => `max(${a}, ${b})`, '0u')});`,
  held_halves: each.map((q) => `let below_${q} = halves(bits_${q}, largest);`).join('\n  '),
  held_terms: each.map((q) => `part += terms(above(below_${q}, tau));`).join('\n      '),
  held_results: each
    .map((q) => `store_quad(start, ${place(q)}, width, result(below_${q}, key, tau, squares));`)
    .join('\n  '),
})}`,
  };
});

const gradientKernel = kernelFamily('entmax-gradient', ({ lanes, quads, isVec }: Layout) => {
  const element = isVec ? 'vec4f' : 'f32';
  const each = range(quads);
  const place = (q: number): string => `first + ${q}u * 4u * LANES`;
  return {
    uniforms: { rows: 'u32', width: 'u32' },
    buffers: { weights: read(element), given: read(element), out: write(element) },
    workgroup: ROW_INVOCATIONS,
    source: () => `const LANES = ${lanes}u;
${rowPairs(lanes)}
${loadFloats('weights', isVec)}
${loadFloats('given', isVec)}
${storeQuad(isVec)}
${fill(gradientText, {
  is_held: quads > 0,
  held_terms: `${each
    .map(
      (q) => `let root_${q} = sqrt(load_weights(start, ${place(q)}, width));
  let given_${q} = load_given(start, ${place(q)}, width);`,
    )
    .join('\n  ')}
  let part = ${each.map((q) => `terms(root_${q}, given_${q})`).join(' + ') || 'vec2f()'};`,
  held_results: each
    .map((q) => `store_quad(start, ${place(q)}, width, root_${q} * (given_${q} - mean));`)
    .join('\n  '),
})}`,
  };
});

function rowPairs(lanes: number): string {
  return fill(pairsText, { joins: Math.max(1, lanes / ADDED), is_wide: lanes > ADDED });
}

/** `load_quad`: bits of the scores j to j + 3 of a row, -inf where they are hidden and beyond the end. */
function loadScores(isVec: boolean, mask: RowMaskKind): string {
  const hidden = 'vec4u(MINUS_INF_BITS)';
  const one = (i: number): string =>
    `if (j + ${i}u < width${mask === 'entries' ? ` && visible[seen + j + ${i}u] != 0u` : ''}) { bits[${i}] = scores[start + j + ${i}u]; }`;
  const quad = 'scores[(start + j) / 4u]';
  return `fn load_quad(start: u32, seen: u32, j: u32, width: u32) -> vec4u {
  if (j >= width${mask === 'rows' ? ' || visible[seen] == 0u' : ''}) { return ${hidden}; }
  ${
    isVec
      ? `return ${mask === 'entries' ? `select(${hidden}, ${quad}, visible[(seen + j) / 4u] != vec4u())` : quad};`
      : `var bits = ${hidden};
  ${times(4, one, '\n  ')}
  return bits;`
  }
}`;
}

function storeQuad(isVec: boolean): string {
  return `fn store_quad(start: u32, j: u32, width: u32, quad: vec4f) {
  ${
    isVec
      ? 'if (j < width) { out[(start + j) / 4u] = quad; }'
      : times(4, (i) => `if (j + ${i}u < width) { out[start + j + ${i}u] = quad[${i}]; }`, '\n  ')
  }
}`;
}
