/** 0 to count - 1. */
export function range(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

/** Lines of unrolled WGSL, one per index. */
export function times(count: number, line: (index: number) => string, separator = '\n'): string {
  return range(count).map(line).join(separator);
}

/** Statements, one per line, with empty ones left out. */
export function lines(parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join('\n');
}

/** Bits of a quiet NaN, for uniforms: WGSL rejects NaN in constant expressions. */
export const NAN_BITS = 0x7fc00000;

/** Directives of a shader that uses subgroups in code that not all of their invocations need to reach. */
export const subgroupDirectives: readonly string[] = [
  'enable subgroups',
  'diagnostic(off, subgroup_uniformity)',
];

/**
 * Elements that an invocation of a pass over memory computes. With one, too few bytes are on their way at a time: on a GPU
 * with much bandwidth a pass took as long whether it read one tensor or two.
 */
export const ELEMENTS = 4;

/**
 * Entry point of a kernel with an invocation for `ELEMENTS` elements of `count`, a WGSL expression: `value` and `place` are
 * an element's, and where it goes. All are read before the first is written.
 */
export function forSeveralElements(
  workgroup: number,
  count: string,
  value: (at: string) => string,
  place: (at: string) => string,
): string {
  const at = (index: number): string => `first + ${workgroup * index}u`;
  return `@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let count = ${count};
  let first = (workgroup.x + workgroup.y * groups.x) * ${ELEMENTS * workgroup}u + local;
  if (first >= count) { return; }
  ${times(ELEMENTS, (index) => `let value_${index} = ${value(`min(${at(index)}, count - 1u)`)};`, '\n  ')}
  ${times(ELEMENTS, (index) => `if (${at(index)} < count) { ${place(at(index))} = value_${index}; }`, '\n  ')}
}`;
}

/** Entry point of a kernel with one invocation for each of `params.count` elements: `body` handles element `at`. */
export function forEachElement(body: string): string {
  return `@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * INVOCATIONS;
  if (at >= params.count) { return; }
  ${body}
}`;
}
