import { lines, range } from '../wgsl/text.js';

/** Those that share a launch, in order, of which a launch takes at most `most`. */
export function launchesOf<One>(tensors: readonly One[], most: number): readonly (readonly One[])[] {
  return range(Math.ceil(tensors.length / most)).map((at) => tensors.slice(at * most, (at + 1) * most));
}

/** Tensors that share a launch: the first workgroup of each, and the workgroups of all. */
export function workgroupsOf(counts: readonly number[]): {
  readonly firsts: readonly number[];
  readonly workgroups: number;
} {
  const firsts: number[] = [];
  let workgroups = 0;
  for (const count of counts) {
    firsts.push(workgroups);
    workgroups += count;
  }
  return { firsts, workgroups };
}

/**
 * Statements that find the tensor `which` of a workgroup, and its numbers: `first`, and those of `names`. Of each there is
 * a uniform for every tensor, such as `first_0`.
 */
export function whichTensor(group: string, tensors: number, names: readonly string[]): string {
  const all = ['first', ...names];
  const later = range(tensors).slice(1);
  return `var which = 0u;
  ${all.map((name) => `var ${name} = params.${name}_0;`).join('\n  ')}
  ${lines(
    later.map(
      (at) => `if (${group} >= params.first_${at}) {
    which = ${at}u;
    ${all.map((name) => `${name} = params.${name}_${at};`).join('\n    ')}
  }`,
    ),
  )}`;
}
