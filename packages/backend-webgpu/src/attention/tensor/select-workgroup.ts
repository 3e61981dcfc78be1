import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, optional, read, readFrom, write } from '../../wgsl/define-kernel.js';
import { fourType } from './score-text.js';
import {
  type SelectInputs,
  type SelectVariant,
  selectUniforms,
  selectUniformsOf,
} from './select-subgroup.js';
import { selectText, type WorkgroupVariant } from './select-workgroup-text.js';

/**
 * Rescoring and exact selection of one row by one workgroup, without subgroups; bit for bit the same as
 * `recordSelectSubgroup`.
 *
 * - from 'list': the candidates of every row; their ordered keys in workgroup memory; rows without proof are
 *   flagged. For devices without subgroups of 32, which the path refuses: so everything around its matrices is tested
 *   on any device.
 * - from 'all': the slow path. A few workgroups take the flagged rows in turn and look at every visible key; ordered
 *   keys in a scratch buffer, one row of it per workgroup.
 *
 * One invocation scores a key. The k-th largest is found by four passes over histograms of eight bits; if there are
 * more equals than places left, four more passes find the largest index that still gets one. Kept keys are appended in
 * any order and then sorted by index. Workgroup memory: 4 bytes (8 from 'list') per unit of capacity, 1 KiB for the
 * histogram, the query.
 */
const selectKernel = kernelFamily('tensor select', (variant: WorkgroupVariant) => {
  const { half, relative, keyLengths, from, invocations } = variant;
  const isList = from === 'list';
  return {
    uniforms: { ...selectUniforms, first_flagged: 'u32', end_flagged: 'u32' },
    buffers: {
      q: readFrom(fourType(half)),
      k: readFrom(fourType(half)),
      lists: write('u32'),
      heads: optional(isList, read('vec2u')),
      work: optional(isList, write('atomic<u32>')),
      flagged: optional(!isList, read('u32')),
      orders: optional(!isList, write('vec4u')),
      tables: optional(relative || keyLengths, read('u32')),
    },
    workgroup: invocations,
    source: () => selectText(variant),
  };
});

/** From 'list'. `work`: the part's counters, then the rows to select again. */
export function recordSelectListed(
  stream: Stream,
  variant: SelectVariant,
  inputs: SelectInputs,
  buffers: { readonly heads: Span; readonly work: Span },
): void {
  const { q, k, lists, tables, geometry } = inputs;
  selectKernel({ ...variant, from: 'list', invocations: 64 }).launch(stream, {
    uniforms: { ...selectUniformsOf(inputs), first_flagged: 0, end_flagged: 0 },
    buffers: { q, k, lists, ...buffers, tables: tables?.span },
    workgroups: geometry.heads * geometry.queries,
  });
}

/** From 'all'. `flagged`: what the previous selections left in `work`; a launch takes some of its rows. */
export function recordSelectFlagged(
  stream: Stream,
  variant: SelectVariant & { readonly invocations: number },
  inputs: SelectInputs,
  { first, end, workgroups }: Readonly<Record<'first' | 'end' | 'workgroups', number>>,
  buffers: { readonly flagged: Span; readonly orders: Span },
): void {
  const { q, k, lists, tables } = inputs;
  selectKernel({ ...variant, from: 'all' }).launch(stream, {
    uniforms: { ...selectUniformsOf(inputs), first_flagged: first, end_flagged: end },
    buffers: { q, k, lists, ...buffers, tables: tables?.span },
    workgroups: [workgroups, 1, 1],
  });
}
