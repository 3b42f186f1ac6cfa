// Runs before the first paint, so that no page flashes in the wrong colours. A module would come too late.
(() => {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const apply = () => {
    const chosen = localStorage.getItem('litellm-console-theme');
    document.documentElement.dataset.theme = chosen ?? (dark.matches ? 'dark' : 'light');
  };
  apply();
  dark.addEventListener('change', apply);
  addEventListener('storage', apply);
})();
