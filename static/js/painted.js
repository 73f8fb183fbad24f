/* The first paint comes before any script of ours works: what is on the page is right already. */
const LONGEST_MS = 300; // a page in the background is never painted

export const painted = new Promise((resolve) => {
  requestAnimationFrame(() => setTimeout(resolve));
  setTimeout(resolve, LONGEST_MS);
});
