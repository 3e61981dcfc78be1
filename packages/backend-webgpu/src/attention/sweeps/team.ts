import { subgroupDirectives } from '../../wgsl/text.js';

/** Invocations that work on one row. */
export const TEAM = 32;

/** Whether a team is a subgroup, or shares sums through workgroup memory. Both give the same integers. */
export interface TeamParameters {
  readonly subgroups: boolean;
}

/** Directives of a shader with a team. */
export function teamDirectives({ subgroups }: TeamParameters): readonly string[] {
  return subgroups ? subgroupDirectives : [];
}

/**
 * For a workgroup of one team, on u32: `team_sum(t, x)`, `team_max(t, x)` and `team_before(t, x)`, the sum over the
 * invocations before this one; all invocations call them together. Without subgroups: 128 bytes of workgroup memory.
 */
export function teamFunctions({ subgroups }: TeamParameters): string {
  if (subgroups) {
    return `
fn team_sum(t: u32, x: u32) -> u32 { return subgroupAdd(x); }
fn team_max(t: u32, x: u32) -> u32 { return subgroupMax(x); }
fn team_before(t: u32, x: u32) -> u32 { return subgroupExclusiveAdd(x); }`;
  }
  const fold = (name: string, combine: string, end: string): string => `
fn ${name}(t: u32, x: u32) -> u32 {
  workgroupBarrier();
  team_words[t] = x;
  workgroupBarrier();
  var result = 0u;
  for (var other = 0u; other < ${end}; other++) { result = ${combine}; }
  return result;
}`;
  return `
var<workgroup> team_words: array<u32, ${TEAM}>;
${fold('team_sum', 'result + team_words[other]', `${TEAM}u`)}
${fold('team_max', 'max(result, team_words[other])', `${TEAM}u`)}
${fold('team_before', 'result + team_words[other]', 't')}`;
}
