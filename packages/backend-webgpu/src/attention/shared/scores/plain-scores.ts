import { loadQuad } from './product.js';
import { type ScoreOptions, scoreFunctions } from './scores-text.js';

export const PLAIN_INVOCATIONS = 64;

/**
 * The same scores as `tiledScores`, bit for bit, by the simplest kernel: an invocation computes four keys of one row,
 * and nothing is shared. For software devices, which take seconds to compile a tiled product.
 */
export function plainScores(p: ScoreOptions): string {
  const quads = Math.ceil(p.headDim / 4);
  const chain = (key: number): string =>
    ['x', 'y', 'z', 'w'].map((d) => `dots[${key}] = fma(a.${d}, b_${key}.${d}, dots[${key}]);`).join(' ');
  return `
${scoreFunctions(p)}
${loadQuad('load_query', 'q', p)}
${loadQuad('load_key', 'k', p)}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let each = (params.visible_keys + 4u * INVOCATIONS - 1u) / (4u * INVOCATIONS);
  let job = id.x + id.y * groups.x;
  let index = job / each;
  if (index >= params.heads * params.queries) { return; }
  let row = row_at(index);
  let visible = visible_of(row);
  let first_key = 4u * (job % each * INVOCATIONS + t);
  if (first_key >= visible) { return; }
  let query = row.local_head * params.query_length + row.local_query;
  let key_start = row.local_head / params.group * params.key_length;
  let last = params.key_length - 1u;
  var dots = vec4f();
  for (var quad = 0u; quad < ${quads}u; quad++) {
    let a = load_query(query, quad);
    ${[0, 1, 2, 3].map((j) => `let b_${j} = load_key(key_start + min(first_key + ${j}u, last), quad);`).join('\n    ')}
    ${[0, 1, 2, 3].map(chain).join('\n    ')}
  }
  scores[index * ((params.key_length + 3u) / 4u) + first_key / 4u] = scores_of(dots, row, first_key, visible);
}`;
}

/** The kernel's workgroups for that many rows. */
export function plainScoresGroups(rows: number, keys: number): number {
  return rows * Math.ceil(keys / (4 * PLAIN_INVOCATIONS));
}
