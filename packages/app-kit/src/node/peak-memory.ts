import { readFileSync } from 'node:fs';

/**
 * The largest resident size of this process so far, in bytes. On Linux from the process's own address space (VmHWM):
 * `maxRSS` there also counts what the parent held at the moment of the fork.
 */
export function peakBytes(): number {
  if (process.platform === 'linux') {
    try {
      const match = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
      if (match) return Number(match[1]) * 1024;
    } catch {
      // No /proc: the portable figure below.
    }
  }
  return process.resourceUsage().maxRSS * 1024;
}
