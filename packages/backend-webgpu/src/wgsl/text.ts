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

/** Entry point of a kernel with one invocation for each of `params.count` elements: `body` handles element `at`. */
export function forEachElement(body: string): string {
  return `@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let at = id.x + id.y * groups.x * INVOCATIONS;
  if (at >= params.count) { return; }
  ${body}
}`;
}
