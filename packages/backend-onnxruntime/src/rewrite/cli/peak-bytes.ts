/**
 * The largest resident size of this process so far, in bytes. On Linux that of its own address space (VmHWM): `maxRSS`
 * there begins with what the parent held when it started this process.
 */
export async function peakBytes(): Promise<number> {
  if (process.platform === 'linux') {
    const { readFileSync } = await import('node:fs');
    try {
      const found = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
      if (found) return Number(found[1]) * 1024;
    } catch {
      // No /proc: the figure below.
    }
  }
  return process.resourceUsage().maxRSS * 1024;
}
