// What the theme leaves out for screen readers and the keyboard.
addEventListener("DOMContentLoaded", () => {
  const set = (selector, name, value, wanted = () => true) => {
    for (const one of document.querySelectorAll(selector)) if (wanted(one)) one.setAttribute(name, value);
  };
  set("p.caption[role=heading]", "aria-level", "2");
  set("pre, .table-wrapper", "tabindex", "0", (one) => one.scrollWidth > one.clientWidth);
  set(".sidebar-drawer", "aria-label", "Pages of this site");
  set(".toc-drawer", "aria-label", "On this page");
});
