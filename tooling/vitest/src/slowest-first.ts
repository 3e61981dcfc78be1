import { BaseSequencer, type TestSpecification } from 'vitest/node';
import { secondsOf } from './slow-files.ts';

/**
 * Starts the slow and long files of slow-files.ts first, the slowest of them before the others. Where one of minutes comes
 * last, as by size it may on a fresh clone, it runs alone and the other cores wait.
 */
export class SlowestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const seconds = ({ project, moduleId }: TestSpecification): number => secondsOf(project.name, moduleId);
    return sorted.sort((a, b) => seconds(b) - seconds(a));
  }
}
