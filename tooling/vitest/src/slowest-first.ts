import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { slowFiles } from './slow-files.ts';

/**
 * Starts the slow files of slow-files.ts first, the slowest of them before the others. Where one of minutes comes last, as
 * by size it may on a fresh clone, it runs alone and the other cores wait.
 */
export class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return sorted.sort((a, b) => secondsOf(b) - secondsOf(a));
  }
}

function secondsOf({ project, moduleId }: TestSpecification): number {
  const entries = Object.entries(slowFiles[project.name] ?? {});
  return entries.find(([name]) => moduleId.endsWith(`/test/${name}.test.ts`))?.[1] ?? 0;
}
