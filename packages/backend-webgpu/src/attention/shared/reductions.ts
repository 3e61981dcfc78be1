/** The index of this workgroup in a grid of `gridOf`. */
export const groupIndex = `
fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.x + group.y * groups.x; }`;

/** `sum_of_group(x, t)`: the sum over a workgroup in the order of a fixed tree, returned to every invocation. */
export function groupReductions(invocations: number): string {
  const steps = (combine: (a: string, b: string) => string): string => {
    const lines: string[] = [];
    for (let step = invocations / 2; step >= 1; step /= 2) {
      lines.push(
        `if (t < ${step}u) { reduced[t] = ${combine('reduced[t]', `reduced[t + ${step}u]`)}; } workgroupBarrier();`,
      );
    }
    return lines.join('\n  ');
  };
  const reduction = (name: string, combine: (a: string, b: string) => string): string => `
fn ${name}(x: f32, t: u32) -> f32 {
  reduced[t] = x; workgroupBarrier();
  ${steps(combine)}
  let result = reduced[0]; workgroupBarrier();
  return result;
}`;
  return `
var<workgroup> reduced: array<f32, ${invocations}>;
${reduction('sum_of_group', (a, b) => `${a} + ${b}`)}
${reduction('max_of_group', (a, b) => `max(${a}, ${b})`)}`;
}
