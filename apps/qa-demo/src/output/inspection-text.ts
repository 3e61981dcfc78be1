import { textTable } from '@topk-attention/app-kit';
import {
  type Cluster,
  formatValueName,
  type Inspection,
  type Intervention,
  type LayerInspection,
  type TokenPrediction,
} from '@topk-attention/models/inspect';
import type { Inspected } from '../engine/inspect-protocol.js';

/** What was seen, as tables: with interventions the same without and with them, side by side. */
export function inspectionText(
  { plain, changed, values = [], hits, clusters }: Inspected,
  interventions: readonly Intervention[],
): string {
  const parts = [heading(plain), layersTable(plain, changed, interventions)];
  if (values.length > 0) {
    const rows = values.map((value) => [
      formatValueName(value),
      number(value.norm),
      value.tokens.map(({ text, logit }) => `${text} ${number(logit)}`).join(', '),
    ]);
    parts.push(
      textTable({
        columns: [
          { title: 'value vector' },
          { title: 'norm', align: 'right' },
          { title: 'tokens and logits' },
        ],
        rows,
      }),
    );
  }
  if (hits !== undefined) {
    const rows = hits.map((hit) => [
      formatValueName(hit),
      hit.matched.join(', '),
      hit.tokens.slice(0, 8).join(', '),
    ]);
    parts.push(
      hits.length === 0
        ? 'None found: no value vector has any of these words among its top tokens.'
        : textTable({ columns: [{ title: 'found' }, { title: 'words' }, { title: 'top tokens' }], rows }),
    );
  }
  if (clusters !== undefined) parts.push(clusterTable(clusters));
  return parts.join('\n\n');
}

function clusterTable(clusters: readonly Cluster[]): string {
  const rows = clusters.map(({ id, members, tokens }) => [
    String(id),
    String(members.length),
    members.slice(0, 4).map(formatValueName).join(', '),
    tokens.map(({ text }) => text).join(', '),
  ]);
  const columns = [
    { title: 'cluster', align: 'right' as const },
    { title: 'size', align: 'right' as const },
    { title: 'nearest to its center' },
    { title: 'tokens' },
  ];
  return textTable({ columns, rows });
}

function heading({ stack, tokens, position }: Inspection): string {
  return `Position ${position} of ${tokens.length} in the ${stack}: ${tokens[position] ?? ''}`;
}

function layersTable(
  plain: Inspection,
  changed: Inspection | undefined,
  interventions: readonly Intervention[],
): string {
  const sides = changed === undefined ? [plain] : [plain, changed];
  const titles =
    changed === undefined ? ['prediction'] : ['plain', `with ${interventions.map(named).join(', ')}`];
  const rows = plain.layers.flatMap(({ layer }, at) => {
    const own = sides.map(({ layers }) => layers[at] as LayerInspection);
    return [
      [String(layer), 'before', ...own.map(({ before }) => predicted(before))],
      ['', 'adds', ...own.map(added)],
      ['', 'after', ...own.map(({ after }) => predicted(after))],
    ];
  });
  const columns = [{ title: 'layer' }, { title: '' }, ...titles.map((title) => ({ title }))];
  return textTable({ columns, rows });
}

function named(one: Intervention): string {
  const at = one.positions === undefined ? '' : ` at ${one.positions.join(',')}`;
  return `${formatValueName(one)}=${one.coefficient}${at}`;
}

function predicted(tokens: readonly TokenPrediction[]): string {
  return tokens.map(({ text, probability }) => `${text} ${probability.toFixed(3)}`).join(', ');
}

function added({ subUpdates, active }: LayerInspection): string {
  const longest = subUpdates.map((one) => `${formatValueName(one)} ${number(one.dominance)}`);
  return `${longest.join(', ')} of ${active}`;
}

function number(value: number): string {
  return String(Number(value.toPrecision(3)));
}
