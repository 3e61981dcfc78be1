import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
const child = fileURLToPath(new URL('./memory-child.js', import.meta.url));
/** Peak resident memory, from a process that does nothing else. */
export async function measurePeak(kind, task) {
    const { stdout } = await promisify(execFile)(process.execPath, [child, kind, JSON.stringify(task)], {
        maxBuffer: 2 ** 20,
    });
    return JSON.parse(stdout);
}
//# sourceMappingURL=memory.js.map