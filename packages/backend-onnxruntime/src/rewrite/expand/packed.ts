import { intOf, intsOf } from '../graph/attributes.js';
import { biasesOf, headsOf, scaleOf } from './multi-head.js';
import { axesOf, emitBlock, type Fused, fromHeads, refused, toHeads, typeOf, withPast } from './parts.js';

/** com.microsoft.Attention: the projections to queries, keys and values are one product in it. */
export function expandPacked(fused: Fused): void {
  const { node, writer } = fused;
  const [x = '', weight = '', bias = '', mask = '', past = '', added = '', ...others] = node.input;
  const [, present = ''] = node.output;
  if (others.some((name) => name !== '')) throw refused(fused, 'a buffer for its past');
  if ((intOf(node, 'do_rotary') ?? 0) !== 0) throw refused(fused, 'rotary positions');
  const type = typeOf(fused);
  const heads = headsOf(fused);
  const third = (axesOf(fused, weight).dims.at(-1) as number) / 3;
  const widths = intsOf(node, 'qkv_hidden_sizes') ?? [third, third, third];
  if (widths.length !== 3 || (present !== '' && widths[1] !== widths[2]))
    throw refused(fused, `widths [${widths}]`);

  let projected = writer.op('MatMul', [x, weight]);
  if (bias !== '') projected = writer.op('Add', [projected, bias]);
  let from = 0;
  const [q, k, v] = widths.map((width) => {
    const part = writer.part(projected, 2, from, from + width);
    from += width;
    return toHeads(fused, part, heads);
  }) as [string, string, string];
  // The past and what is returned hold keys and values in one tensor, [2, B, heads, L, d].
  const ofPast = (at: number): string =>
    past === '' ? '' : writer.op('Gather', [past, writer.i64(at)], { axis: 0 });
  const parts = { q, k: withPast(fused, ofPast(0), k), v: withPast(fused, ofPast(1), v) };
  if (present !== '') {
    const both = [writer.unsqueeze(parts.k, 0), writer.unsqueeze(parts.v, 0)];
    writer.opInto([present], 'Concat', both, { axis: 0 });
  }
  const pastLength = past === '' ? undefined : writer.extent(past, 3);
  const scale = scaleOf(fused, (widths[0] as number) / heads, type);
  fromHeads(fused, emitBlock(fused, parts, scale, biasesOf(fused, parts, mask, added, pastLength, type)));
}
